package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seamark-mesh/seamark/registry"
)

// Stream is the reader's end of the stream.
type Stream interface {
	// Follow delivers the last message of each fact in stream order, then every
	// message as it is stored, in batches; caughtUp is true whenever the end was
	// reached. After that it leaves nothing out. It blocks until ctx ends, f fails,
	// or it can't go on. The slice belongs to f until f returns.
	Follow(ctx context.Context, f func(messages []registry.Message, caughtUp bool) error) error
	// LoadWriter returns the last message of each fact of one writer, in stream order.
	LoadWriter(ctx context.Context, w registry.Writer) ([]registry.Message, error)
	// LoadFact searches the history of one fact before a sequence, backwards, for the
	// newest message that can be read, and returns it, or none; of an epoch's record
	// it returns the latest ones, in order.
	LoadFact(ctx context.Context, f registry.Fact, before uint64) ([]registry.Message, error)
	// WatchLeases delivers every writer's lease, then each new one.
	WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error
	// OrderResync asks a cluster's agent to compare all it has published.
	OrderResync(ctx context.Context, cluster registry.ClusterID, reason string) error
}

// Observer is told what happens, for metrics. Its methods must not block; they
// are called from one goroutine.
type Observer interface {
	// Took is called for every message that is followed.
	Took(w registry.Writer, out registry.Outcome)
	// Propagated is called when a change of a service became visible: since is the
	// time since its agent learnt of it, by two clocks, when they are on two machines.
	Propagated(cluster registry.ClusterID, since time.Duration)
	// Repaired is called when a cluster was loaded again: reason is gap, digest or revision.
	Repaired(cluster registry.ClusterID, reason string)
}

// Replica follows the stream. Make one with [New]; Run may be called once.
type Replica struct {
	store    *registry.Store
	stream   Stream
	observer Observer
	logger   *slog.Logger
	synced   atomic.Bool
	batches  chan batch
	leases   chan registry.Lease
	sessions chan session
	losses   chan string
	options  Options
	resumed  time.Time     // when it was given a checkpoint; zero: it was not
	moved    atomic.Int64  // how long after that something of the stream was taken in, in nanoseconds
	place    Place         // where the checkpoint was
	reached  atomic.Uint64 // the sequence of the latest View that was shown
	stored   atomic.Int64  // when the latest message was, by the stream's clock, in Unix nanoseconds
	moment   atomic.Pointer[moment]
	kept     atomic.Uint64 // the sequence of the latest checkpoint
	runs     atomic.Bool   // Run has begun
	stopped  chan struct{} // closed when Run has ended

	// What follows belongs to Run's goroutine.
	fold      *registry.Fold
	live      bool           // the fold has caught up once: its Views are shown
	shown     *registry.View // the latest View that was shown, without its mark; nil: none
	cut       *registry.Cut  // nil: what is shown is current
	cutAt     time.Time
	began     time.Time   // Run
	created   time.Time   // when the stream that is followed was made
	before    []time.Time // likewise, of those whose place it took
	behind    bool        // the end of the stream that is followed was not reached yet
	inherited map[registry.ClusterID]bool
	settling  map[registry.ClusterID]settling
	// inheritance are the facts of a checkpoint that stand on no stream that is there.
	inheritance []registry.Message
	followed    uint64    // the last sequence that Follow delivered
	rereading   bool      // the latest of each fact, after the place in the stream was lost
	atEnd       time.Time // when the stream's end was first reached
	said        map[complaint]time.Time
	met         map[registry.ClusterID]registry.Stamp // where each cluster stood when its last lease came, and the time in that lease
	amiss       map[registry.ClusterID]*amiss
	loader

	mu    sync.Mutex // guards known
	known map[registry.ClusterID]sighting

	showing sync.Mutex     // guards the fields below, and is held by who publishes
	held    *registry.View // of a checkpoint, marked, not shown yet; nil: none, or something was shown
	dropped bool           // what was shown last is another mesh's
}

type batch struct {
	messages []registry.Message
	caughtUp bool
	tail     bool // nothing was left out before these messages
	done     chan struct{}
}

// sighting is a lease and how old it is.
type sighting struct {
	registry.Lease
	age      time.Duration // when it was received
	received time.Time
}

// complaint is what is said in the log once in a while.
type complaint struct {
	writer registry.Writer
	reason string
}

// New returns a replica that publishes to store; it starts nothing.
func New(store *registry.Store, stream Stream, observer Observer, logger *slog.Logger) *Replica {
	return &Replica{
		store: store, stream: stream, observer: observer, logger: logger, fold: registry.NewFold(),
		batches: make(chan batch), leases: make(chan registry.Lease, 64), said: map[complaint]time.Time{},
		sessions: make(chan session), losses: make(chan string), stopped: make(chan struct{}),
		inherited: map[registry.ClusterID]bool{}, settling: map[registry.ClusterID]settling{},
		met: map[registry.ClusterID]registry.Stamp{}, amiss: map[registry.ClusterID]*amiss{},
		loader: newLoader(), known: map[registry.ClusterID]sighting{},
	}
}

// Ready tells why the replica can't be asked yet, or no more; nil when it can.
func (r *Replica) Ready() error {
	v := r.store.View()
	switch {
	case !r.synced.Load():
		return errors.New("not caught up with the stream yet")
	case v.Zone() == nil:
		return errors.New("no zone record stands on the stream")
	}
	cut, stale := v.Cut()
	switch age := time.Since(cut.Since); {
	case !stale:
	case r.options.NotReadyWhenStale:
		return fmt.Errorf("cut off for %s: %s", age.Round(time.Second), cut.Reason)
	case r.options.MaxStale > 0 && age > r.options.MaxStale:
		return fmt.Errorf("cut off for %s, longer than %s: %s", age.Round(time.Second), r.options.MaxStale, cut.Reason)
	case !r.resumed.IsZero() && time.Since(r.resumed) < r.options.ReadyAfter && cut.Reason == fromCheckpoint:
		return fmt.Errorf("%s, ready in %s", cut.Reason, (r.options.ReadyAfter - time.Since(r.resumed)).Round(time.Second))
	}
	return nil
}

// Lease returns the latest lease of a cluster's agent and the time since it was
// renewed; ok is false when none was ever seen.
func (r *Replica) Lease(cluster registry.ClusterID) (l registry.Lease, age time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[cluster]
	return known.Lease, known.age + time.Since(known.received), ok
}

// Run follows the stream until ctx ends.
func (r *Replica) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.began = time.Now()
	r.runs.Store(true)
	defer r.end()
	wg.Go(func() { r.follow(ctx) })
	r.notHeld()
	wg.Go(func() { r.Hold(ctx) })
	wg.Go(func() {
		r.again(ctx, "watch the leases", func() error { return r.stream.WatchLeases(ctx, r.handLease()) })
	})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-r.batches:
			r.take(b)
			close(b.done)
		case l := <-r.leases:
			r.compare(l)
		case found := <-r.loads:
			if order := r.fill(ctx, found); order != nil {
				wg.Go(order)
			}
		case s := <-r.sessions:
			r.begin(s)
			close(s.done)
		case why := <-r.losses: // which is for the log: DNS clients are told less
			r.behind = true
			r.logger.Error("the stream that was followed is lost", "why", why)
			r.cutOff("the stream was lost", time.Now())
		case <-tick.C:
			r.notHeld()
			r.hear(time.Now())
			for _, order := range r.mend(ctx, time.Now()) {
				wg.Go(order)
			}
			r.remember()
		}
		r.finishStart()
		for j := r.next(time.Now()); j != nil; j = r.next(time.Now()) {
			wg.Go(func() { r.load(ctx, j) })
		}
	}
}

// longestPause is between two attempts: what befell the stream is to be noticed soon.
const longestPause = 2 * time.Second

// again repeats what should never end until ctx does.
func (r *Replica) again(ctx context.Context, what string, f func() error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 100*time.Millisecond, longestPause
	for {
		began := time.Now()
		err := f()
		if ctx.Err() != nil {
			return
		}
		r.logger.Warn("trying again: what is known stands", "what", what, "err", err)
		if time.Since(began) > time.Minute {
			pauses.Reset()
		}
		if wait(ctx, pauses.NextBackOff()) != nil {
			return
		}
	}
}

// hand passes the batches of one Follow to Run's goroutine, which owns the fold, and
// waits until each was taken: their slice is reused.
func (r *Replica) hand(ctx context.Context) func([]registry.Message, bool) error {
	tail := false
	return func(messages []registry.Message, caughtUp bool) error {
		b := batch{messages: messages, caughtUp: caughtUp, tail: tail, done: make(chan struct{})}
		tail = tail || caughtUp
		select {
		case r.batches <- b:
			<-b.done
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// handLease takes the leases of one WatchLeases. The first one of each writer may
// have stood there for long, so only its age by the stream's clock tells; the later
// ones come as they are written.
func (r *Replica) handLease() func(l registry.Lease, stored, received time.Time) {
	met := map[registry.ClusterID]bool{}
	return func(l registry.Lease, stored, received time.Time) {
		cluster, ok := l.Writer.Cluster()
		if !ok {
			return
		}
		next := sighting{Lease: l, received: received}
		if !met[cluster] {
			met[cluster] = true
			next.age = max(0, received.Sub(stored))
		}
		if !r.sight(cluster, next) {
			return
		}
		select {
		case r.leases <- l:
		default: // the next one is 2 s away
		}
	}
}

// sight remembers a lease; false when there are too many clusters.
func (r *Replica) sight(cluster registry.ClusterID, next sighting) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.known[cluster]; !known && len(r.known) >= registry.MaxClusters {
		return false
	}
	r.known[cluster] = next
	return true
}

// take folds a batch and shows the result at once.
func (r *Replica) take(b batch) {
	r.move()
	if !b.tail && r.live { // the latest of each fact, not all that there was
		r.rereading = true
		r.fold.Unsure()
	}
	for _, m := range b.messages {
		out := r.fold.Apply(m)
		r.followed = max(r.followed, m.Sequence)
		r.stored.Store(max(r.stored.Load(), m.Stored.UnixNano()))
		r.observer.Took(m.Fact.Writer, out)
		if out.Result == registry.Quarantined {
			r.complain(m, out.Reason)
			if !b.tail && out.Reason != registry.ReasonTooMany {
				r.seek(m.Fact, m.Sequence)
			}
		}
		if cluster, own := m.Fact.Writer.Cluster(); own {
			switch {
			case out.Complete:
				r.completed(cluster, m)
			case out.Gap && b.tail && !r.inherited[cluster]:
				r.reload(cluster, "gap", time.Now())
			}
		}
	}
	r.settle()
	for _, fact := range r.fold.Voided() {
		r.seek(fact, r.followed+1)
	}
	if b.caughtUp && r.atEnd.IsZero() {
		r.atEnd = time.Now()
	}
	if r.rereading && b.caughtUp {
		r.rereading = false
		r.fold.Synced()
	}
	wasCut := r.cut != nil
	if b.caughtUp && r.live {
		r.behind = false
		r.join()
	}
	if !r.live || r.cut != nil || len(b.messages) == 0 && !wasCut {
		return // while it catches up, what is shown stands: nothing of that is current
	}
	r.publish(r.fold.View())
	if !b.tail {
		return // they were visible elsewhere long ago
	}
	now := time.Now()
	for _, m := range b.messages {
		if e := m.Event; e != nil && e.Service != nil && e.Cause == registry.CauseChange && !e.Service.Seen.IsZero() {
			if cluster, own := m.Fact.Writer.Cluster(); own {
				r.observer.Propagated(cluster, now.Sub(e.Service.Seen))
			}
		}
	}
}

// How long the start waits for what stands behind messages that can't be used.
// Beyond it their facts are not known yet ([registry.View.Unknown]), and all others
// answered.
const (
	startPatience = 30 * time.Second
	fairShare     = 1000 // facts that are looked for of each writer; others do not wait for more
)

// complete reports whether the start need not wait any longer: an honest cluster has
// few messages that can't be used, and all others' are not to wait for one that
// writes little else.
func (r *Replica) complete() bool {
	if time.Since(r.atEnd) >= startPatience {
		return true
	}
	for _, b := range r.behindOf {
		if len(b.before) > 0 && b.searched < fairShare {
			return false
		}
	}
	return true
}

// finishStart shows the first View, once it is complete.
func (r *Replica) finishStart() {
	if r.live || r.atEnd.IsZero() || !r.complete() {
		return
	}
	for _, b := range r.behindOf {
		for fact := range b.before {
			r.fold.Missing(fact, true)
		}
	}
	r.fold.Synced()
	v := r.fold.View()
	r.live, r.behind = true, false
	r.join()
	r.publish(v)
	r.logger.Info("caught up with the stream", "sequence", v.Sequence(), "services", v.Services(),
		"clusters", len(v.Clusters()), "facts_unknown", r.facts())
}

// complain says in the log that a message can't be used.
func (r *Replica) complain(m registry.Message, reason string) {
	if r.news(m.Fact.Writer, reason) {
		r.logger.Warn("a message can't be used: its fact keeps its last state", "sequence", m.Sequence,
			"writer", string(m.Fact.Writer), "kind", string(m.Fact.Kind), "service", m.Fact.Service.String(), "reason", reason, "err", m.Refused)
	}
}

// maxComplaints bounds what is remembered of the log.
const maxComplaints = 10_000

// news reports, for each writer and reason once a minute, that something is worth a
// line in the log: one cluster's faults must not hide another's.
func (r *Replica) news(w registry.Writer, reason string) bool {
	c := complaint{w, reason}
	if last, said := r.said[c]; said && time.Since(last) < time.Minute {
		return false
	}
	if len(r.said) >= maxComplaints {
		clear(r.said) // at worst something is said again too soon
	}
	r.said[c] = time.Now()
	return true
}

// compare holds what is known of a cluster to its agent's lease. Only at the same
// epoch and revision do the two speak of the same moment.
func (r *Replica) compare(l registry.Lease) {
	cluster, _ := l.Writer.Cluster()
	c := r.store.View().Cluster(cluster)
	if !r.live || c == nil || c.Inherited() {
		return
	}
	if differs(l, c) {
		r.reload(cluster, "digest", time.Now())
	}
	met := r.met[cluster]
	if !l.Time.After(met.Time) {
		return // it was delivered before
	}
	// The agent does not know of a message that was here when its lease before this
	// one came: somebody else has written it, and it may stand for good.
	if l.Phase == registry.PhaseSynced && l.Epoch == c.Epoch && l.Epoch == met.Epoch && l.Revision < met.Revision {
		r.reload(cluster, "revision", time.Now())
	}
	r.met[cluster] = registry.Stamp{Epoch: c.Epoch, Revision: c.Revision, Time: l.Time}
}

// differs reports whether a cluster is not what its agent says of the same moment.
func differs(l registry.Lease, c *registry.ClusterState) bool {
	return c != nil && !c.Inherited() && l.Phase == registry.PhaseSynced && c.Quarantined == 0 &&
		l.Epoch == c.Epoch && l.Revision == c.Revision && (l.Digest != c.Digest || l.Keys != c.Services)
}
