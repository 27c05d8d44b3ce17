package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Difference is one thing that is not the same: a service as such, one of its instances,
// a cluster, a gateway, the zone, a state or an order.
type Difference struct {
	What     string               `json:"what"`   // service, instance, cluster, gateway, zone, state, order
	Change   string               `json:"change"` // added, removed, changed
	Cluster  registry.ClusterID   `json:"cluster,omitempty"`
	Service  *registry.ServiceKey `json:"service,omitempty"`
	Name     string               `json:"name,omitempty"` // an instance's id, a gateway's name, an order's kind and target
	Fields   []FieldChange        `json:"fields,omitempty"`
	Sequence uint64               `json:"sequence,omitempty"` // of [Diff]: the latest message about it in the newer View; 0: there is none
}

// The values of [Difference].Change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// FieldChange is one field. Values are as a person reads them; of what was added or
// removed the other side is "".
type FieldChange struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`

	// Unknown says that the values are not known: only that the field changed.
	Unknown bool `json:"unknown,omitempty"`
}

// Diff returns what differs between two Views, sorted by what, cluster, service and
// name. Repetitions differ in nothing. Instances of a service that was added or removed
// are told one by one after it. It looks at all names of both Views.
func Diff(old, new *registry.View) []Difference {
	var all []Difference
	all = append(all, diffZone(old, new)...)
	all = append(all, diffClusters(old, new)...)
	all = append(all, diffStates(old, new)...)
	all = append(all, diffOrders(old, new)...)
	all = append(all, diffNames(old, new)...)
	slices.SortStableFunc(all, Difference.compare)
	return all
}

func (d Difference) compare(o Difference) int {
	order := []string{"zone", "cluster", "gateway", "state", "order", "service", "instance"}
	class := func(d Difference) int {
		if d.What == "instance" { // beside its service
			return slices.Index(order, "service")
		}
		return slices.Index(order, d.What)
	}
	key := func(d Difference) registry.ServiceKey {
		if d.Service == nil {
			return registry.ServiceKey{}
		}
		return *d.Service
	}
	return cmp.Or(cmp.Compare(class(d), class(o)), cmp.Compare(d.Cluster, o.Cluster), key(d).Compare(key(o)),
		cmp.Compare(slices.Index(order, d.What), slices.Index(order, o.What)), cmp.Compare(d.Name, o.Name))
}

// values are the fields of something, in the order in which they are told.
type values [][2]string

// compare returns the fields that differ. Both have the same ones in the same order,
// or one has none.
func (v values) compare(o values) (fields []FieldChange) {
	for n := range max(len(v), len(o)) {
		var f FieldChange
		if n < len(v) {
			f.Field, f.Old = v[n][0], v[n][1]
		}
		if n < len(o) {
			f.Field, f.New = o[n][0], o[n][1]
		}
		if f.Old != f.New {
			fields = append(fields, f)
		}
	}
	return fields
}

// between tells how something changed; ok is false when it did not.
func between(d Difference, old, new values) (Difference, bool) {
	d.Fields = old.compare(new)
	switch {
	case old == nil && new == nil:
		return d, false
	case old == nil:
		d.Change = Added
	case new == nil:
		d.Change = Removed
	default:
		d.Change = Changed
		return d, len(d.Fields) > 0
	}
	return d, true
}

func instanceValues(i *registry.Instance) values {
	if i == nil {
		return nil
	}
	return values{
		{"address", i.Address},
		{"port", strconv.Itoa(i.Port)},
		{"weight", strconv.Itoa(i.Weight)},
		{"health", string(i.Health)},
		{"version", i.Version},
		{"meta", pairs(i.Meta)},
	}
}

func gatewayValues(g *registry.Gateway) values {
	if g == nil {
		return nil
	}
	ports := map[string]string{}
	for name, port := range g.Ports {
		ports[name] = strconv.Itoa(port)
	}
	var addresses []string
	for _, a := range g.Addresses {
		addresses = append(addresses, a.String())
	}
	probe := ""
	if p := g.Probe; p != nil {
		probe = strings.TrimSpace(fmt.Sprintf("%s port %d %s %s", p.Kind, p.Port, p.Host, p.Path))
		if p.Status != 0 {
			probe += " expects " + strconv.Itoa(p.Status)
		}
	}
	return values{{"addresses", strings.Join(addresses, " ")}, {"ports", pairs(ports)}, {"weight", strconv.Itoa(g.Weight)}, {"probe", probe}}
}

func clusterValues(r *registry.ClusterRecord) values {
	if r == nil {
		return nil
	}
	return values{{"source", r.Source}, {"region", r.Region}, {"zone", r.Zone}, {"labels", pairs(r.Labels)}}
}

func stateValues(s *registry.StateRecord) values {
	if s == nil {
		return nil
	}
	return values{{"state", string(s.State)}, {"since", precise(s.Since)}, {"failing", strings.Join(s.Failing, " ")}, {"reason", s.Reason}}
}

func orderValues(o *registry.Order) values {
	if o == nil {
		return nil
	}
	flag := func(b bool) string {
		if b {
			return "yes"
		}
		return ""
	}
	return values{
		{"by", o.By},
		{"reason", o.Reason},
		{"for", seconds(o.For)},
		{"failback", seconds(o.Failback)},
		{"force", flag(o.Force)},
		{"ending", flag(o.Ending)},
		{"lifted", flag(o.Lifted)},
		{"decision", o.Decision},
		{"held", o.Held},
	}
}

func zoneValues(z *registry.ZoneRecord) values {
	if z == nil {
		return nil
	}
	var ttls, servers, withdrawn []string
	for _, s := range z.TTLByService {
		ttls = append(ttls, string(s.Pattern)+"="+seconds(s.TTL))
	}
	for _, n := range z.Nameservers {
		servers = append(servers, fmt.Sprint(n.Name, n.Addresses))
	}
	for _, p := range z.Withdraw {
		withdrawn = append(withdrawn, string(p))
	}
	return values{
		{"name", z.Name},
		{"ttl", seconds(z.TTL)},
		{"negative_ttl", seconds(z.NegativeTTL)},
		{"stale_ttl", seconds(z.StaleTTL)},
		{"ttl_by_service", strings.Join(ttls, " ")},
		{"nameservers", strings.Join(servers, " ")},
		{"withdraw", strings.Join(withdrawn, " ")},
		{"contact", z.Contact},
	}
}

// pairs writes a map in one order.
func pairs(m map[string]string) string {
	all := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+m[k])
	}
	return strings.Join(all, " ")
}

func seconds(n int) string {
	if n == 0 {
		return ""
	}
	return (time.Duration(n) * time.Second).String()
}

// precise writes a time so that two different ones look different; "" for none.
func precise(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
