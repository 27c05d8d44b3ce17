package registry

// Bounds of what a Fold keeps. They are far above what a sound mesh needs, and there
// so that one writer that has lost its mind, or its credentials, can't take the
// memory of all readers. What is beyond is [Quarantined] with the reason
// [ReasonTooMany]; what of it stands then depends on the order of reading.
const (
	MaxClusters  = 10_000
	MaxFacts     = 200_000 // of one writer: services, forgotten services, other facts, unusable facts; each
	MaxSpellings = 64      // of one cluster: services that meet at one name
	MaxHeld      = 1 << 30 // of one cluster: bytes of memory for the instances, estimated
)

// ReasonTooMany is the reason of a [Refusal] of what is beyond a bound of the whole,
// although nothing is wrong with the message.
const ReasonTooMany = "too-many"

// limits are the bounds of a Fold; smaller ones in tests.
type limits struct{ clusters, facts, held int }

// holding is how much a Fold keeps of one writer.
type holding struct {
	hidden   int // forgotten services
	others   int // facts that are no service
	unusable int // facts in quarantine
	bytes    int // of the instances, as footprint says
	full     bool
}

func (f *Fold) holding(w Writer) *holding {
	h := f.held[w]
	if h == nil {
		h = &holding{}
		f.held[w] = h
	}
	return h
}

// admits reports whether a message's writer is known or may become so.
func (f *Fold) admits(w Writer) bool {
	id, own := w.Cluster()
	return !own || f.clusters[id] != nil || len(f.clusters) < f.limits.clusters
}

// excess tells why a service can't be taken in: with it the cluster would be beyond
// its bounds. Was is the record it has; it may be nil, as may name.
func (f *Fold) excess(c *ClusterState, name *Name, was *Record, state *ServiceState) *Refusal {
	if state.Forgotten {
		return nil
	}
	h := f.holding(Writer(c.ID))
	known := name.entry(state.Key()).Record(c.ID) != nil
	if !known && c.Services >= f.limits.facts {
		return refuse(ReasonTooMany, "%s has %d services already", c.ID, c.Services)
	}
	if was == nil && name.spellings(c.ID) >= MaxSpellings {
		return refuse(ReasonTooMany, "%s has %d services already whose names come to %s", c.ID, MaxSpellings, name.Labels.Name)
	}
	grown := footprint(state.Instances)
	if was != nil {
		grown -= footprint(was.Service.Instances)
	}
	if grown > 0 && h.bytes+grown > f.limits.held {
		return refuse(ReasonTooMany, "the instances of %s take %d bytes already", c.ID, h.bytes)
	}
	return nil
}

// spellings counts the services of a cluster that meet here; the receiver may be nil.
func (n *Name) spellings(cluster ClusterID) (count int) {
	if n == nil {
		return 0
	}
	for _, e := range n.Entries {
		if e.find(cluster) != nil {
			count++
		}
	}
	return count
}

// footprint estimates the memory that instances take, in bytes.
func footprint(instances []Instance) int {
	bytes := 0
	for n := range instances {
		i := &instances[n]
		bytes += 96 + len(i.ID) + len(i.Address) + len(i.Version)
		if len(i.Meta) > 0 {
			bytes += 64 + 48*len(i.Meta)
		}
		for k, v := range i.Meta {
			bytes += len(k) + len(v)
		}
	}
	return bytes
}

// mayNote reports whether the position of one more fact that is no service may be
// kept. Those that shape a View are few. Without it a redelivery of the others is
// passed over again, and that is all.
func (f *Fold) mayNote(fact Fact) bool {
	if _, known := f.facts[fact]; known || !countless(fact.Kind) {
		return true
	}
	h := f.holding(fact.Writer)
	if h.others >= f.limits.facts {
		return false
	}
	h.others++
	return true
}

// forget drops the position of a fact that is no service.
func (f *Fold) forget(fact Fact) {
	delete(f.facts, fact)
	if countless(fact.Kind) {
		f.holding(fact.Writer).others--
	}
}

// countless reports whether a writer can own any number of facts of a kind.
func countless(k Kind) bool {
	switch k {
	case KindCluster, KindEpoch, KindSnapshot, KindZone:
		return false
	}
	return true
}

// setQuarantine remembers that the latest message of a fact can't be used.
func (f *Fold) setQuarantine(fact Fact, sequence uint64) {
	at, known := f.quarantine[fact]
	if sequence <= at || sequence <= f.sequence(fact) {
		return
	}
	if h := f.holding(fact.Writer); !known {
		if h.unusable >= f.limits.facts {
			if !h.full { // the rest counts as one, which stays
				h.full = true
				f.countQuarantine(fact, 1)
			}
			return
		}
		h.unusable++
		f.countQuarantine(fact, 1)
	}
	f.quarantine[fact] = sequence
}

func (f *Fold) endQuarantine(fact Fact, sequence uint64) {
	if at, known := f.quarantine[fact]; known && sequence > at {
		delete(f.quarantine, fact)
		f.holding(fact.Writer).unusable--
		f.countQuarantine(fact, -1)
	}
}

func (f *Fold) countQuarantine(fact Fact, by int) {
	if id, ok := fact.Writer.Cluster(); ok {
		c := f.cluster(id)
		c.Quarantined += by
		if fact.Kind != KindNote {
			c.Unusable += by
		}
	}
}
