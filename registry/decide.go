package registry

// Candidate is one cluster that knows a service, and whether it is answered with.
type Candidate struct {
	Cluster  ClusterID
	In       bool
	Reason   string    // for a person; the same for the same situation
	Gateways []Gateway // of the cluster; set when In
	Record   *Record
}

// The reasons of a [Candidate].
const (
	ReasonServing     = "serving"
	ReasonTombstone   = "no instance is registered"
	ReasonNotServing  = "no instance is passing or warning with a weight above 0"
	ReasonNoGateway   = "the cluster has no gateway"
	ReasonUnknownHere = "the cluster does not know the service"
)

// Decide tells for every cluster that knows the service whether it can serve it:
// it has an instance that takes traffic, and a gateway. The result is sorted by
// cluster. It is the one place where that is decided.
func (v *View) Decide(e *Entry) []Candidate {
	candidates := make([]Candidate, 0, len(e.Records))
	for _, r := range e.Records {
		candidates = append(candidates, v.decide(r))
	}
	return candidates
}

func (v *View) decide(r *Record) Candidate {
	c := Candidate{Cluster: r.Cluster, Record: r}
	state := v.clusters[r.Cluster]
	switch {
	case r.Tombstone():
		c.Reason = ReasonTombstone
	case r.Serving == 0:
		c.Reason = ReasonNotServing
	case state == nil || state.Record == nil || len(state.Record.Gateways) == 0:
		c.Reason = ReasonNoGateway
	default:
		c.In, c.Reason, c.Gateways = true, ReasonServing, state.Record.Gateways
	}
	return c
}
