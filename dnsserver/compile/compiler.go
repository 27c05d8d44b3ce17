package compile

import (
	"hash/maphash"
	"slices"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// maxBytes bounds the compiled answers. Sets beyond it are left to the complete path.
const maxBytes = 64 << 20

// Compiler makes one [Table] after another. One goroutine uses it; make one with
// [NewCompiler].
type Compiler struct {
	table   Table
	owned   [shardCount]bool // shards of the table that no Table given out has
	zone    *registry.ZoneRecord
	numbers map[string]node // of sets, by the key of their recipe
	recipes []recipe        // by node
	keys    []string        // by node
	users   []int           // by node: names that lead to the set
	free    []node
	scratch []byte
	limit   int               // of the compiled answers, in bytes
	left    map[node]struct{} // sets that it leaves to the complete path

	given      *[shardCount]*shard // as the latest Table has them; nil: they have changed since
	sharedSets bool                // a Table that was given out has the list of sets
}

// NewCompiler returns a Compiler of an empty table.
func NewCompiler() *Compiler {
	c := &Compiler{limit: maxBytes}
	c.reset()
	return c
}

func (c *Compiler) reset() {
	c.table = Table{seed: maphash.MakeSeed(), shards: new([shardCount]*shard), sets: make([]*set, 1)}
	c.owned, c.given, c.sharedSets = [shardCount]bool{}, nil, false
	c.left = map[node]struct{}{}
	c.numbers, c.recipes, c.keys, c.users, c.free = map[string]node{}, make([]recipe, 1), make([]string, 1), make([]int, 1), nil
}

// Update returns the Table of a View. Delta tells what changed since the View of the
// call before; it is taken as it is, so [registry.Watcher] is the one to ask. The
// time it takes is in proportion to the changes.
func (c *Compiler) Update(v *registry.View, delta registry.Delta) *Table {
	before := c.table.View()
	if !v.Synced() || v.Zone() == nil {
		c.reset()
		return Complete(v)
	}
	c.zone = v.Zone()
	if delta.All || delta.Zone || delta.Synced || len(c.table.apex) == 0 {
		c.all(v)
	} else {
		c.changes(before, v, delta)
		_, was := before.Cut()
		if _, is := v.Cut(); is != was {
			c.again(v)
		}
	}
	c.fillRoom(v)
	c.table.view = v
	c.table.negative = encodeNegative(c.zone.Name, lookup.Negative(v))
	c.table.doubt = encodeDoubt(lookup.Doubt(v, dns.RcodeSuccess))
	c.table.doubtAbsent = encodeDoubt(lookup.Doubt(v, dns.RcodeNameError))
	return c.freeze()
}

// freeze gives out what is there now; what is shared is copied before the next write.
func (c *Compiler) freeze() *Table {
	if c.given == nil {
		shards := *c.table.shards
		c.given, c.owned = &shards, [shardCount]bool{}
	}
	c.sharedSets = true
	t := c.table
	t.shards, t.left = c.given, len(c.left)
	return &t
}

func (c *Compiler) all(v *registry.View) {
	c.reset()
	apex := make([]byte, 256)
	end, err := dns.PackDomainName(c.zone.Name, apex, 0, nil, false)
	if err != nil {
		return
	}
	c.table.apex = apex[:end]
	for _, top := range []string{"svc", "cluster", "gw"} {
		c.put(branch, top)
	}
	for _, cluster := range v.Clusters() {
		c.cluster(nil, v, cluster.ID)
	}
	for n := range v.Names() {
		c.name(nil, v, n.Labels)
	}
	for _, s := range c.table.shards {
		s.clip()
	}
}

func (c *Compiler) changes(before, v *registry.View, delta registry.Delta) {
	for _, id := range delta.Clusters {
		for n := range c.recipes {
			if r := &c.recipes[n]; c.users[n] > 0 && r.service && r.has(id) {
				c.compile(v, node(n))
			}
		}
		c.cluster(before, v, id)
	}
	for _, labels := range delta.Names {
		if !c.turned(before, v, labels) {
			c.name(before, v, labels)
		}
	}
}

// again makes every set anew, as when the times to live are others: the names lead where
// they led.
func (c *Compiler) again(v *registry.View) {
	for n, users := range c.users {
		if users > 0 {
			c.compile(v, node(n))
		}
	}
}

// turned settles the names of one service where all that may have changed is which of
// its clusters can serve it: most changes are of that kind, or none that DNS shows. It
// is false, and has done nothing, where names may come or go.
func (c *Compiler) turned(before, v *registry.View, l registry.Labels) bool {
	was, known := before.Name(l)
	is, knownStill := v.Name(l)
	if !known || !knownStill || len(was.Entries) != 1 || len(is.Entries) != 1 {
		return false
	}
	from, to := was.Entries[0], is.Entries[0]
	if from.Key != to.Key || !slices.EqualFunc(from.Records, to.Records, func(a, b *registry.Record) bool { return a.Cluster == b.Cluster }) {
		return false
	}
	var t terms
	any := false
	for n, record := range to.Records {
		if serves(record) == serves(from.Records[n]) && drainedIn(v, record.Cluster, l) == drainedIn(before, record.Cluster, l) {
			continue
		}
		if !any {
			t, any = termsOf(c.zone, to.Key), true
		}
		c.put(c.acquire(v, recipeOf(v, to, record.Cluster, t)), l.Name, l.Namespace, string(record.Cluster), "cluster")
	}
	if !any {
		return true
	}
	c.put(c.acquire(v, recipeOf(v, to, "", t)), l.Name, l.Namespace, "svc")
	if l.Namespace == registry.DefaultNamespace {
		c.put(c.acquire(v, recipeOf(v, to, "", t)), l.Name, "svc")
	}
	return true
}

// cluster settles the names of a cluster's gateways.
func (c *Compiler) cluster(before, v *registry.View, id registry.ClusterID) {
	if before != nil {
		if was := before.Cluster(id); was != nil && was.Record != nil {
			for n := range was.Record.Gateways {
				c.remove(was.Record.Gateways[n].Name, string(id), "gw")
			}
		}
		c.remove(string(id), "gw")
	}
	is := v.Cluster(id)
	if is == nil {
		return
	}
	all := recipe{members: []member{{cluster: id}}}
	c.put(c.acquire(v, all), string(id), "gw")
	if is.Record == nil {
		return
	}
	for n := range is.Record.Gateways {
		one := all
		one.gateway = is.Record.Gateways[n].Name
		c.put(c.acquire(v, one), one.gateway, string(id), "gw")
	}
}

// name settles all names that follow from what is, or was, known at some labels. It
// asks only what stands now, so that it may be called once too often.
func (c *Compiler) name(before, v *registry.View, l registry.Labels) {
	e, there := v.Lookup(l)
	var t terms
	if there {
		t = termsOf(c.zone, e.Key)
		c.put(c.acquire(v, recipeOf(v, e, "", t)), l.Name, l.Namespace, "svc")
	} else {
		c.remove(l.Name, l.Namespace, "svc")
	}
	if l.Namespace == registry.DefaultNamespace {
		c.short(v, l.Name)
	}
	c.short(v, l.Namespace)
	for _, id := range clustersAt(before, v, l) {
		if there && e.Record(id) != nil {
			c.put(c.acquire(v, recipeOf(v, e, id, t)), l.Name, l.Namespace, string(id), "cluster")
		} else {
			c.remove(l.Name, l.Namespace, string(id), "cluster")
		}
		c.branch(v.HasNamespace(l.Namespace, id), l.Namespace, string(id), "cluster")
		state := v.Cluster(id)
		c.branch(state != nil && state.Services > 0, string(id), "cluster")
	}
}

// short settles <label>.svc: a service of the default namespace, or else a namespace.
func (c *Compiler) short(v *registry.View, label string) {
	if e, ok := v.Lookup(registry.Labels{Namespace: registry.DefaultNamespace, Name: label}); ok {
		c.put(c.acquire(v, recipeOf(v, e, "", termsOf(c.zone, e.Key))), label, "svc")
		return
	}
	c.branch(v.HasNamespace(label, ""), label, "svc")
}

func (c *Compiler) branch(there bool, labels ...string) {
	if there {
		c.put(branch, labels...)
	} else {
		c.remove(labels...)
	}
}

// clustersAt returns the clusters that know, or knew, any service at some labels.
func clustersAt(before, v *registry.View, l registry.Labels) []registry.ClusterID {
	var all []registry.ClusterID
	for _, view := range []*registry.View{before, v} {
		if view == nil {
			continue
		}
		n, ok := view.Name(l)
		if !ok {
			continue
		}
		for _, e := range n.Known() {
			for _, r := range e.Records {
				if !slices.Contains(all, r.Cluster) {
					all = append(all, r.Cluster)
				}
			}
		}
	}
	return all
}

// acquire returns the set that a recipe makes, for one more name.
func (c *Compiler) acquire(v *registry.View, r recipe) node {
	c.scratch = r.appendKey(c.scratch[:0])
	n, known := c.numbers[string(c.scratch)]
	if !known {
		key := string(c.scratch)
		if last := len(c.free) - 1; last >= 0 {
			n, c.free = c.free[last], c.free[:last]
			c.recipes[n], c.keys[n] = r, key
		} else {
			n = node(len(c.recipes))
			c.recipes, c.keys, c.users = append(c.recipes, r), append(c.keys, key), append(c.users, 0)
			c.table.sets = append(c.table.sets, nil)
		}
		c.numbers[key] = n
		c.compile(v, n)
	}
	c.users[n]++
	return n
}

// compile makes the set of a node, or makes it anew.
func (c *Compiler) compile(v *registry.View, n node) {
	c.forget(n)
	s := &set{complete: true}
	if c.table.bytes < c.limit {
		s = compileSet(c.recipes[n].likeness(v))
	} else {
		c.left[n] = struct{}{}
	}
	c.table.bytes += s.size
	c.ownSets()
	c.table.sets[n] = s
}

// fillRoom compiles what there was no room for, as far as there is now.
func (c *Compiler) fillRoom(v *registry.View) {
	for n := range c.left {
		if c.table.bytes >= c.limit {
			return
		}
		c.compile(v, n)
	}
}

// forget takes the set of a node away.
func (c *Compiler) forget(n node) {
	delete(c.left, n)
	if s := c.table.sets[n]; s != nil {
		c.table.bytes -= s.size
		c.ownSets()
		c.table.sets[n] = nil
	}
}

// ownSets makes the list of sets one that may be written to.
func (c *Compiler) ownSets() {
	if c.sharedSets {
		c.table.sets = append(make([]*set, 0, len(c.table.sets)+1), c.table.sets...)
		c.sharedSets = false
	}
}

func (c *Compiler) release(n node) {
	if n == branch {
		return
	}
	if c.users[n]--; c.users[n] == 0 {
		delete(c.numbers, c.keys[n])
		c.forget(n)
		c.free = append(c.free, n)
	}
}

// put lets a name lead to a node. Most of what is settled again leads where it led
// before, and copies nothing.
func (c *Compiler) put(n node, labels ...string) {
	at, hash, name := c.locate(labels)
	was := c.table.shards[at].find(hash, name)
	switch {
	case was == nil:
		c.own(at).set(hash, name, n)
		c.table.names++
	case was.node == n:
		c.release(n)
	default:
		old := was.node
		c.own(at).set(hash, name, n)
		c.release(old)
	}
}

func (c *Compiler) remove(labels ...string) {
	at, hash, name := c.locate(labels)
	if was := c.table.shards[at].find(hash, name); was != nil {
		old := was.node
		c.own(at).remove(hash, name)
		c.table.names--
		c.release(old)
	}
}

// own returns a shard that may be written to.
func (c *Compiler) own(at int) *shard {
	if !c.owned[at] {
		c.table.shards[at], c.owned[at], c.given = c.table.shards[at].clone(), true, nil
	}
	return c.table.shards[at]
}

// locate returns where the shard of a name stands, and the name on the wire. The name
// is valid until the next call.
func (c *Compiler) locate(labels []string) (at int, hash uint32, name []byte) {
	name = c.scratch[:0]
	for _, label := range labels {
		name = append(append(name, byte(len(label))), label...)
	}
	c.scratch = name
	sum := maphash.Bytes(c.table.seed, name)
	return int(sum % shardCount), uint32(sum >> 32), name
}
