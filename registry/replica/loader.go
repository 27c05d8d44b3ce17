package replica

import (
	"context"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// loader reads again what was missed, beside the tail: of one writer one thing at a
// time, of several writers by turns, so that one cluster's faults hold up neither
// what changes in the others nor what was missed of them. It belongs to Run's
// goroutine.
type loader struct {
	loads    chan found
	running  map[registry.Writer]bool
	rest     map[registry.Writer]time.Time // after a load that failed
	turns    []registry.Writer             // who has something to load, the next one first
	reloads  map[registry.ClusterID]*reload
	reloaded map[registry.ClusterID]time.Time
	behindOf map[registry.Writer]*backlog

	generation int // of the stream: what was loaded of an earlier one is of no use
}

// reload is a whole cluster to load.
type reload struct {
	reason string
	due    time.Time
}

// backlog is what has to be looked for behind one writer's messages.
type backlog struct {
	before   map[registry.Fact]uint64 // all facts, and before which sequence
	queue    []registry.Fact          // those that nobody looks for at the moment
	searched int                      // facts that were looked for
}

// job is what is loaded of one writer at once: the whole cluster, or some facts.
type job struct {
	writer registry.Writer
	of     int     // generation
	reload *reload // nil: facts
	facts  []behind
}

type behind struct {
	fact   registry.Fact
	before uint64
}

// found is what a job brought, for each of its facts.
type found struct {
	*job
	messages [][]registry.Message
	errs     []error
}

// Pauses between two loads of one cluster. A digest that goes on to differ is the
// agent's to mend.
const (
	gapPause    = 5 * time.Second
	digestPause = time.Minute
)

// Bounds of what is loaded at once.
const (
	maxJobs  = 4  // writers
	jobFacts = 32 // facts of one writer, before it is another's turn
	jobLoads = 8  // of these at the same time
)

func newLoader() loader {
	l := loader{loads: make(chan found)}
	l.reset()
	return l
}

// reset forgets all that was to be loaded.
func (l *loader) reset() {
	*l = loader{
		loads: l.loads, generation: l.generation, running: map[registry.Writer]bool{}, rest: map[registry.Writer]time.Time{},
		reloads: map[registry.ClusterID]*reload{}, reloaded: map[registry.ClusterID]time.Time{},
		behindOf: map[registry.Writer]*backlog{},
	}
}

// reload asks for a whole cluster.
func (l *loader) reload(cluster registry.ClusterID, reason string, now time.Time) {
	if l.reloads[cluster] != nil {
		return
	}
	r := &reload{reason: reason, due: now}
	if last, known := l.reloaded[cluster]; known {
		if reason != "gap" && now.Sub(last) < digestPause {
			return // the next lease will ask again
		}
		if due := last.Add(gapPause); due.After(now) {
			r.due = due
		}
	}
	l.queue(registry.Writer(cluster))
	l.reloads[cluster] = r
}

// queue gives a writer its turn, if it has none.
func (l *loader) queue(w registry.Writer) {
	if !l.pending(w) {
		l.turns = append(l.turns, w)
	}
}

// pending reports whether there is anything to load of a writer.
func (l *loader) pending(w registry.Writer) bool {
	b := l.behindOf[w]
	cluster, own := w.Cluster()
	return b != nil && len(b.before) > 0 || own && l.reloads[cluster] != nil
}

// lookBehind asks for what stands in the history of a fact before a message that
// can't be used. Only facts that shape a View are worth it; of these, the few that
// are no service come first. It reports whether the fact is one of them.
func (l *loader) lookBehind(fact registry.Fact, before uint64) bool {
	b := l.behindOf[fact.Writer]
	if !shapesView(fact.Kind) || b != nil && len(b.before) >= registry.MaxFacts {
		return false
	}
	l.queue(fact.Writer)
	if b == nil {
		b = &backlog{before: map[registry.Fact]uint64{}}
		l.behindOf[fact.Writer] = b
	}
	_, known := b.before[fact]
	b.before[fact] = before
	switch {
	case known:
	case fact.Kind == registry.KindService:
		b.queue = append(b.queue, fact)
	default:
		b.queue = append([]registry.Fact{fact}, b.queue...)
	}
	return true
}

func shapesView(k registry.Kind) bool {
	switch k {
	case registry.KindService, registry.KindCluster, registry.KindEpoch, registry.KindSnapshot, registry.KindZone,
		registry.KindState, registry.KindOrder:
		return true
	}
	return false
}

// facts counts what is still looked for.
func (l *loader) facts() (count int) {
	for _, b := range l.behindOf {
		count += len(b.before)
	}
	return count
}

// next returns what to load now, of the writer whose turn it is; nil when nothing is
// due or enough is on its way.
func (l *loader) next(now time.Time) *job {
	for range len(l.turns) {
		if len(l.running) >= maxJobs {
			return nil
		}
		w := l.turns[0]
		l.turns = l.turns[1:]
		if !l.pending(w) {
			continue
		}
		l.turns = append(l.turns, w)
		if l.running[w] || now.Before(l.rest[w]) {
			continue
		}
		if j := l.jobOf(w, now); j != nil {
			l.running[w], j.of = true, l.generation
			return j
		}
	}
	return nil
}

// jobOf returns what is due of a writer; nil when nothing is.
func (l *loader) jobOf(w registry.Writer, now time.Time) *job {
	if cluster, own := w.Cluster(); own {
		if r := l.reloads[cluster]; r != nil && !r.due.After(now) {
			return &job{writer: w, reload: r}
		}
	}
	b := l.behindOf[w]
	if b == nil || len(b.queue) == 0 {
		return nil
	}
	j := &job{writer: w}
	count := min(len(b.queue), jobFacts)
	for _, fact := range b.queue[:count] {
		j.facts = append(j.facts, behind{fact, b.before[fact]})
	}
	b.queue = b.queue[count:]
	return j
}

// ended takes a fact off the list, unless it must be looked for again: the load
// failed, or another look was asked for meanwhile. It reports whether it was.
func (l *loader) ended(f behind, failed bool) bool {
	b := l.behindOf[f.fact.Writer]
	if failed || b.before[f.fact] != f.before {
		b.queue = append(b.queue, f.fact)
		return false
	}
	b.searched++
	delete(b.before, f.fact)
	return true
}

// load does a job and gives what it brought to Run's goroutine.
func (r *Replica) load(ctx context.Context, j *job) {
	f := found{job: j}
	if j.reload != nil {
		messages, err := r.stream.LoadWriter(ctx, j.writer)
		f.messages, f.errs = [][]registry.Message{messages}, []error{err}
	} else {
		f.messages, f.errs = make([][]registry.Message, len(j.facts)), make([]error, len(j.facts))
		var wg sync.WaitGroup
		slots := make(chan struct{}, jobLoads)
		for n, b := range j.facts {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				f.messages[n], f.errs[n] = r.stream.LoadFact(ctx, b.fact, b.before)
			})
		}
		wg.Wait()
	}
	select {
	case r.loads <- f:
	case <-ctx.Done():
	}
}
