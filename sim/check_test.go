package sim

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// invariant is one of the design's, section 9.
type invariant int

const (
	convergence invariant = iota + 1
	noGhost
	noLoss
	equality
	fencing
	isolation
	deletion
	steadiness // a reader's own partition withdraws nothing, and the serial never goes back
	replay
	flow // nothing panics a process or stops the flow for others
)

func (i invariant) String() string {
	return [...]string{"", "1 convergence", "2 no ghost", "3 no loss", "4 equality", "5 fencing", "6 isolation", "7 deletion", "8 steadiness", "9 replay", "10 flow"}[i]
}

// checker knows the truth and everything that was stored, and holds what the real
// parts do to it.
type checker struct {
	world     *world
	hash      maphash.Seed
	fold      *registry.Fold
	honest    *registry.Fold               // of what no hostile writer has written
	stands    map[uint64]moment            // by sequence
	facts     map[standing]registry.Digest // what the whole history says
	epochs    map[registry.Writer][]registry.Fence
	withdrawn map[whose]time.Time // when an instance was last withdrawn
	view      *registry.View      // of the whole history
	resyncs   int
	checked   int
	bounded   time.Time

	mu     sync.Mutex // guards fault
	fault  string
	broken invariant
}

// moment is what a reader must show at a sequence.
type moment struct {
	whole  uint64 // of all that shapes the zone
	honest uint64 // of what the honest clusters say
}

// whose names an instance of a cluster.
type whose struct {
	cluster registry.ClusterID
	place
}

type standing struct {
	cluster registry.ClusterID
	service registry.ServiceKey
}

func newChecker(w *world) *checker {
	return &checker{
		world: w, hash: maphash.MakeSeed(), fold: registry.NewFold(), honest: registry.NewFold(), stands: map[uint64]moment{},
		facts: map[standing]registry.Digest{}, withdrawn: map[whose]time.Time{}, epochs: map[registry.Writer][]registry.Fence{},
	}
}

// fail notes the first thing that is wrong.
func (c *checker) fail(i invariant, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == "" && (*onlyFlag == 0 || *onlyFlag == int(i)) {
		c.broken, c.fault = i, fmt.Sprintf(format, args...)
	}
}

func (c *checker) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault != ""
}

func (c *checker) sum(v *registry.View) uint64 {
	return maphash.Bytes(c.hash, v.Current().AppendCanonical(nil))
}

// stored takes in a message in the order of the stream, as a reader of the whole
// history does.
func (c *checker) stored(k kept) {
	own, _ := k.Fact.Writer.Cluster()
	void := false
	for _, f := range c.epochs[k.Fact.Writer] {
		void = void || f.Epoch > k.Epoch
	}
	out := c.fold.Apply(k.Message)
	c.fold.Synced()
	v := c.fold.View()
	c.view = v
	if void && k.Refused == nil && !c.world.hostile(own) && out.Result == registry.Applied {
		c.fail(fencing, "sequence %d is of epoch %d of %s, which was over, and counts", k.Sequence, k.Epoch, k.Fact.Writer)
	}
	if k.Refused == nil && k.Fact.Kind == registry.KindEpoch && out.Result == registry.Applied && !slices.ContainsFunc(c.epochs[k.Fact.Writer], func(f registry.Fence) bool { return f.Epoch == k.Epoch }) {
		c.epochs[k.Fact.Writer] = append(c.epochs[k.Fact.Writer], registry.Fence{Epoch: k.Epoch, Sequence: k.Sequence})
	}
	if !c.world.hostile(own) {
		c.honest.Apply(k.Message)
		c.honest.Synced()
	}
	c.stands[k.Sequence] = moment{whole: c.sum(v), honest: c.honestSum(c.honest.View())}
	c.onlyOne(k, v)
	c.judged(k)
	if k.Event != nil && k.Event.Service != nil && k.Event.Service.Changes != nil {
		for _, id := range k.Event.Service.Changes.Removed {
			c.withdrawn[whose{own, place{k.Fact.Service, id}}] = time.Now()
		}
	}
}

// onlyOne holds what one message changes to what it may: the one fact that it is about.
func (c *checker) onlyOne(k kept, v *registry.View) {
	facts := factsOf(v)
	for s, was := range c.facts {
		now, there := facts[s]
		own := registry.Writer(s.cluster) == k.Fact.Writer
		about := k.Fact.Kind == registry.KindService && k.Fact.Service == s.service && own
		forgotten := k.Event != nil && k.Event.Service != nil && k.Event.Service.Forgotten
		gone := k.Event != nil && k.Event.State != nil && k.Event.State.Cluster == s.cluster
		switch {
		case c.world.hostile(s.cluster) && own: // it may do to itself what it likes
		case !there && (!about || !forgotten) && !gone:
			c.fail(deletion, "sequence %d (%s %s) made %s in %s unknown", k.Sequence, k.Fact.Writer, k.Fact.Kind, s.service, s.cluster)
		case there && now != was && !about:
			i := deletion
			if !own {
				i = isolation
			}
			c.fail(i, "sequence %d (%s %s %s) changed %s in %s", k.Sequence, k.Fact.Writer, k.Fact.Kind, k.Fact.Service, s.service, s.cluster)
		}
	}
	c.facts = facts
}

func factsOf(v *registry.View) map[standing]registry.Digest {
	facts := map[standing]registry.Digest{}
	for n := range v.Names() {
		for _, e := range n.Entries {
			for _, r := range e.Records {
				facts[standing{r.Cluster, e.Key}] = r.Digest
			}
		}
	}
	return facts
}

// honestSum sums up what the honest clusters say.
func (c *checker) honestSum(v *registry.View) uint64 {
	var b []byte
	for _, n := range v.SortedNames() {
		for _, e := range n.Known() {
			for _, r := range e.Records {
				if !c.world.hostile(r.Cluster) {
					b = fmt.Append(append(append(append(b, e.Key.Name...), r.Cluster...), r.Digest[:]...), r.Sequence, ' ')
				}
			}
		}
	}
	for _, s := range c.world.sites {
		if state := v.Cluster(s.id); state != nil {
			b = fmt.Append(append(b, state.Digest[:]...), state.Epoch, ' ', state.Services, ' ')
		}
	}
	return maphash.Bytes(c.hash, b)
}

// looked is called whenever everything rests: it holds what is shown now to what may be.
func (c *checker) looked() {
	for _, r := range c.world.readers {
		if v := r.store.View(); v != r.shown {
			c.viewed(r, v)
			r.shown = v
		}
	}
	if time.Since(c.bounded) >= time.Second {
		c.bounded = time.Now()
		c.inTime()
	}
}

// viewed checks a View that a reader shows for the first time.
func (c *checker) viewed(r *reader, v *registry.View) {
	c.checked++
	_, cut := v.Cut() // what a checkpoint held may be older than what was shown before it was read
	if v.Sequence() < r.serial && (r.shown != nil && r.shown.Synced() || v.Synced() && !cut && c.world.losses == 0) {
		c.fail(steadiness, "%s shows sequence %d after %d", r.name, v.Sequence(), r.serial)
	}
	if !v.Synced() {
		return
	}
	r.serial = v.Sequence()
	if r.tail.served == r.served && r.shown != nil && c.sum(v) != c.sum(r.shown) {
		c.fail(steadiness, "%s shows something else although nothing reached it", r.name)
	}
	r.served = r.tail.served
	c.kept(r, v)
	c.serves(r, v)
	if c.world.losses > 0 {
		return // there is no whole history any more
	}
	c.fenced(r, v)
	if v.Unsure() || v.AnyUnknown() || cut && c.world.attacks > 0 { // a checkpoint holds no cluster of which nothing could be used
		return
	}
	must, stored := c.stands[v.Sequence()]
	if !stored {
		return
	}
	got := c.sum(v)
	r.live[v.Sequence()] = got
	if got != must.whole && !c.world.regressed {
		c.fail(equality, "%s at sequence %d is not what the whole history says: %s", r.name, v.Sequence(), c.difference(v))
	}
	if c.world.anyHostile() && c.honestSum(v) != must.honest {
		c.fail(isolation, "%s at sequence %d does not show of the honest clusters what they said", r.name, v.Sequence())
	}
}

// fenced looks for records that were stored when their epoch was over.
func (c *checker) fenced(r *reader, v *registry.View) {
	for n := range v.Names() {
		for _, e := range n.Entries {
			for _, record := range e.Records {
				if c.world.hostile(record.Cluster) {
					continue
				}
				for _, f := range c.epochs[registry.Writer(record.Cluster)] {
					if f.Epoch > record.Epoch && f.Sequence < record.Sequence {
						c.fail(fencing, "%s shows %s of %s from sequence %d, epoch %d, which was over", r.name, e.Key, record.Cluster, record.Sequence, record.Epoch)
					}
				}
			}
		}
	}
}

// serves looks for services that are answered with nothing although some cluster could
// serve them: nothing but the registries, a leave or a forced drain may empty a name.
func (c *checker) serves(r *reader, v *registry.View) {
	for n := range v.Names() {
		for _, e := range n.Known() {
			able, in := "", false
			for _, candidate := range v.Decide(e) {
				in = in || candidate.In
				record := v.Cluster(candidate.Cluster)
				if candidate.Record.Serving > 0 && record != nil && record.Record != nil && len(record.Record.Gateways) > 0 &&
					v.Left(candidate.Cluster) == nil && (candidate.Order == nil || !candidate.Order.Force) {
					able = fmt.Sprintf("%s (%s)", candidate.Cluster, candidate.Reason)
				}
			}
			if able != "" && !in {
				c.fail(noLoss, "%s answers nothing for %s, which %s could serve", r.name, e.Key, able)
			}
		}
	}
}

// judged holds what the observer says of a cluster to what is true of it.
func (c *checker) judged(k kept) {
	if k.Event == nil || k.Event.State == nil || k.Event.State.State == registry.Up || k.Event.Cause == registry.CauseRefresh {
		return
	}
	for _, s := range c.world.sites {
		if s.id != k.Event.State.Cluster || time.Since(s.disturbed) < inTimeAfter || time.Since(s.unreached) < inTimeAfter {
			continue
		}
		calm := true
		for _, r := range c.world.readers {
			calm = calm && time.Since(r.disturbed) >= inTimeAfter
		}
		if calm {
			c.fail(noLoss, "the observer says that %s is %s, and nothing has been amiss with it for %v", s.id, k.Event.State.State, inTimeAfter)
		}
	}
}

// replayed folds the history anew from its bytes, and compares it with what was live.
func (c *checker) replayed() {
	f := registry.NewFold()
	for _, k := range c.world.stream.all {
		e, err := registry.Decode(k.body)
		refused, _ := errors.AsType[*registry.Refusal](err)
		f.Apply(registry.NewMessage(k.Fact, k.Sequence, k.Stored, k.Epoch, k.Revision, e, refused))
		for _, r := range c.world.readers {
			if live, shown := r.live[k.Sequence]; shown {
				f.Synced()
				if c.sum(f.View()) != live && !c.world.regressed {
					c.fail(replay, "the history until sequence %d gives something else than %s showed then", k.Sequence, r.name)
				}
			}
		}
	}
}

// kept looks for records that a reader no longer shows, and nothing took away.
func (c *checker) kept(r *reader, v *registry.View) {
	facts := factsOf(v)
	for s := range r.facts {
		if _, there := facts[s]; there || c.world.hostile(s.cluster) || c.world.losses > 0 && !c.says(s, v.Sequence()) || c.mayForget(s, v.Sequence()) {
			continue
		}
		c.fail(deletion, "%s at sequence %d no longer knows %s of %s", r.name, v.Sequence(), s.service, s.cluster)
	}
	r.facts = facts
}

// says reports whether the stream that is there says anything of a service, up to a sequence.
func (c *checker) says(s standing, until uint64) bool {
	_, there := c.facts[s]
	return there && slices.ContainsFunc(c.world.stream.all, func(k kept) bool {
		return k.Sequence <= until && k.Fact.Writer == registry.Writer(s.cluster) && k.Fact.Service == s.service
	})
}

// mayForget reports whether something on the stream said that a service is to be forgotten.
func (c *checker) mayForget(s standing, until uint64) bool {
	for _, k := range c.world.stream.all {
		if k.Sequence > until || k.Event == nil {
			continue
		}
		if e := k.Event.Service; e != nil && e.Forgotten && e.Key() == s.service && string(k.Fact.Writer) == string(s.cluster) {
			return true
		}
		if e := k.Event.State; e != nil && e.Cluster == s.cluster && e.State == registry.Gone {
			return true
		}
	}
	return false
}

// difference tells how a View differs from a fold of the whole history up to its sequence.
func (c *checker) difference(v *registry.View) string {
	f := registry.NewFold()
	for _, k := range c.world.stream.all {
		if k.Sequence <= v.Sequence() {
			f.Apply(k.Message)
		}
	}
	f.Synced()
	must := f.View()
	if c.sum(must) != c.stands[v.Sequence()].whole {
		return "(and a second fold of the whole history gives something else, too)"
	}
	return between(must, v)
}

// between tells how a View differs from what it must be.
func between(must, v *registry.View) string {
	want, got := factsOf(must), factsOf(v)
	for s, d := range want {
		if got[s] != d {
			return fmt.Sprintf("%s of %s differs", s.service, s.cluster)
		}
	}
	for s := range got {
		if _, there := want[s]; !there {
			return fmt.Sprintf("%s of %s is too much", s.service, s.cluster)
		}
	}
	for _, a := range must.Clusters() {
		if b := v.Cluster(a.ID); b == nil || a.Digest != b.Digest || a.Epoch != b.Epoch || a.EpochSequence != b.EpochSequence || a.RecordSequence != b.RecordSequence {
			return fmt.Sprintf("cluster %s: %+v and not %+v", a.ID, b, a)
		}
	}
	for _, a := range must.States() {
		if b := v.State(a.Cluster); b == nil || b.State != a.State || b.Sequence != a.Sequence {
			return fmt.Sprintf("state of %s: %+v and not %+v", a.Cluster, b, a)
		}
	}
	for n, a := range must.Orders() {
		if len(v.Orders()) <= n {
			return "orders are missing"
		}
		if b := v.Orders()[n]; a.Sequence != b.Sequence || !a.Stored.Equal(b.Stored) {
			return fmt.Sprintf("order: %+v and not %+v", b, a)
		}
	}
	return fmt.Sprintf("sequence %d and not %d, stamps, or states: %d and not %d, orders: %d and not %d", v.Sequence(), must.Sequence(), len(v.States()), len(must.States()), len(v.Orders()), len(must.Orders()))
}

// settled is how long an instance must have been registered: what has just come back may
// be part of a reading that is held back until a second one confirms it.
const settled = 20 * time.Second

// revives is how long after it went an instance may come back because the brake is put:
// what was withdrawn within its window is part of the loss.
const revives = 3 * time.Minute

// made checks an event when an agent sends it for the first time, against what its
// registry has shown to it. It is called from the agent's goroutine.
func (c *checker) made(a *agent, e *registry.Event) {
	if e.Service == nil || e.Cause == registry.CauseRefresh {
		return
	}
	var prior []registry.Instance
	if entry, known := c.view.Service(e.Service.Key()); known {
		if r := entry.Record(a.site.id); r != nil {
			prior = r.Service.Instances
		}
	}
	has := func(list []registry.Instance, id string) bool {
		return slices.ContainsFunc(list, func(i registry.Instance) bool { return i.ID == id })
	}
	s, key := a.site, e.Service.Key()
	// What was shown just now may be held back until a second read confirms it.
	held := time.Since(a.source.shown) < 2*time.Second || a.real.Status().RegistryFault != nil
	for _, i := range prior {
		since := s.since[place{key, i.ID}]
		if !held && since > 0 && since <= a.source.honest && time.Since(s.begun[place{key, i.ID}]) > settled && !has(e.Service.Instances, i.ID) {
			c.fail(noLoss, "%s withdraws %s of %s, which has been registered since version %d; it was shown %d", a.name, i.ID, key, since, a.source.honest)
		}
	}
	for _, i := range e.Service.Instances {
		p := place{key, i.ID}
		if s.since[p] > 0 || has(prior, i.ID) || c.world.losses > 0 && time.Since(c.world.lostAt) < inTimeAfter || s.ended[p].version > a.source.honest {
			continue
		}
		if time.Since(s.disturbed) > inTimeAfter && time.Since(s.ended[p].at) > revives && time.Since(c.withdrawn[whose{s.id, p}]) > revives { // else the brake may have found that it was part of a greater loss
			c.fail(noGhost, "%s publishes %s of %s, which went with version %d; it was shown %d", a.name, i.ID, key, s.ended[p].version, a.source.honest)
		}
	}
}
