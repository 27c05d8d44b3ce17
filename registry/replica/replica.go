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
	// message as it is stored, in batches; caughtUp is true once the end was
	// reached. It blocks until ctx ends, f fails, or it can't go on.
	Follow(ctx context.Context, f func(messages []registry.Message, caughtUp bool) error) error
	// LoadWriter returns the last message of each fact of one writer, in stream order.
	LoadWriter(ctx context.Context, w registry.Writer) ([]registry.Message, error)
	// LoadFact returns all messages of one fact that stand before a sequence, in order.
	LoadFact(ctx context.Context, f registry.Fact, before uint64) ([]registry.Message, error)
	// WatchLeases delivers every writer's lease, then each new one.
	WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error
	// OrderResync asks a cluster's agent to compare all it has published.
	OrderResync(ctx context.Context, cluster registry.ClusterID, reason string) error
}

// Observer is told what happens, for metrics. Its methods must not block; they
// are called from one goroutine.
type Observer interface {
	// Took is called for every message.
	Took(w registry.Writer, out registry.Outcome)
	// Propagated is called when a change of a service became visible: since is the
	// time since its agent learnt of it, by two clocks, when they are on two machines.
	Propagated(cluster registry.ClusterID, since time.Duration)
	// Repaired is called when a cluster was loaded again: reason is gap or digest.
	Repaired(cluster registry.ClusterID, reason string)
}

// Replica follows the stream. Make one with [New]; Run may be called once.
type Replica struct {
	store    *registry.Store
	stream   Stream
	observer Observer
	logger   *slog.Logger
	fold     *registry.Fold
	synced   atomic.Bool
	batches  chan batch
	leases   chan lease
	reload   map[registry.ClusterID]string    // clusters to load again, and why
	asked    map[registry.ClusterID]time.Time // when a resync was ordered last

	mu    sync.Mutex // guards known
	known map[registry.ClusterID]lease
}

type batch struct {
	messages []registry.Message
	caughtUp bool
	done     chan struct{}
}

type lease struct {
	registry.Lease
	age      time.Duration // when it was received
	received time.Time
}

// New returns a replica that publishes to store; it starts nothing.
func New(store *registry.Store, stream Stream, observer Observer, logger *slog.Logger) *Replica {
	return &Replica{
		store: store, stream: stream, observer: observer, logger: logger, fold: registry.NewFold(),
		batches: make(chan batch), leases: make(chan lease, 64),
		reload: map[registry.ClusterID]string{}, asked: map[registry.ClusterID]time.Time{},
		known: map[registry.ClusterID]lease{},
	}
}

// Ready tells why the replica can't be asked yet; nil when it can.
func (r *Replica) Ready() error {
	switch v := r.store.View(); {
	case !r.synced.Load():
		return errors.New("not caught up with the stream yet")
	case v.Zone() == nil:
		return errors.New("no zone record stands on the stream")
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
	wg.Go(func() {
		r.again(ctx, "follow the stream", func() error { return r.stream.Follow(ctx, r.hand(ctx)) })
	})
	wg.Go(func() {
		r.again(ctx, "watch the leases", func() error {
			return r.stream.WatchLeases(ctx, func(l registry.Lease, stored, received time.Time) { r.handLease(ctx, l, stored, received) })
		})
	})
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-r.batches:
			r.take(ctx, b)
			close(b.done)
		case l := <-r.leases:
			r.compare(l)
		case <-retry.C:
		}
		r.repair(ctx)
	}
}

// again repeats what should never end until ctx does.
func (r *Replica) again(ctx context.Context, what string, f func() error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 100*time.Millisecond, 10*time.Second
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
		timer := time.NewTimer(pauses.NextBackOff())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// hand passes batches to Run's goroutine, which owns the fold, and waits until
// each was taken: their slice is reused.
func (r *Replica) hand(ctx context.Context) func([]registry.Message, bool) error {
	return func(messages []registry.Message, caughtUp bool) error {
		b := batch{messages: messages, caughtUp: caughtUp, done: make(chan struct{})}
		select {
		case r.batches <- b:
			<-b.done
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *Replica) handLease(ctx context.Context, l registry.Lease, stored, received time.Time) {
	cluster, ok := l.Writer.Cluster()
	if !ok {
		return
	}
	next := lease{Lease: l, received: received}
	r.mu.Lock()
	if _, known := r.known[cluster]; !known {
		next.age = max(0, received.Sub(stored)) // it may have stood there for long
	}
	r.known[cluster] = next
	r.mu.Unlock()
	select {
	case r.leases <- next:
	case <-ctx.Done():
	default: // the next one is 2 s away
	}
}

// take folds a batch and shows the result at once.
func (r *Replica) take(ctx context.Context, b batch) {
	synced := r.synced.Load()
	for _, m := range b.messages {
		out := r.fold.Apply(m)
		r.observer.Took(m.Fact.Writer, out)
		cluster, own := m.Fact.Writer.Cluster()
		switch {
		case out.Result == registry.Quarantined:
			r.logger.Warn("a message can't be used: its fact keeps its last state", "sequence", m.Sequence,
				"writer", string(m.Fact.Writer), "kind", string(m.Fact.Kind), "service", m.Fact.Service.String(), "reason", out.Reason, "err", m.Refused)
			if !synced {
				r.lookBehind(ctx, m)
			}
		case out.Gap && synced && own:
			r.reload[cluster] = "gap"
		}
	}
	if b.caughtUp && !synced {
		r.fold.Synced()
		r.synced.Store(true)
		synced = true
		v := r.fold.View()
		r.logger.Info("caught up with the stream", "sequence", v.Sequence(), "services", v.Services(), "clusters", len(v.Clusters()))
	}
	if !synced || len(b.messages) == 0 && !b.caughtUp {
		return
	}
	r.store.Publish(r.fold.View())
	now := time.Now()
	for _, m := range b.messages {
		if e := m.Event; e != nil && e.Service != nil && e.Cause == registry.CauseChange && !e.Service.Seen.IsZero() {
			if cluster, own := m.Fact.Writer.Cluster(); own {
				r.observer.Propagated(cluster, now.Sub(e.Service.Seen))
			}
		}
	}
}

// lookBehind applies what stands in the history before a message that can't be
// used, because only the last message of each fact is delivered at the start.
func (r *Replica) lookBehind(ctx context.Context, m registry.Message) {
	earlier, err := r.stream.LoadFact(ctx, m.Fact, m.Sequence)
	if err != nil {
		r.logger.Error("the state before an unusable message can't be read: its fact is not known", "sequence", m.Sequence, "err", err)
		return
	}
	for _, e := range earlier {
		r.fold.Apply(e)
	}
}

// compare holds what is known of a cluster to its agent's lease. Only at the same
// epoch and revision do the two speak of the same moment.
func (r *Replica) compare(l lease) {
	cluster, _ := l.Writer.Cluster()
	c := r.fold.View().Cluster(cluster)
	if !r.synced.Load() || c == nil || l.Phase != registry.PhaseSynced || c.Quarantined > 0 ||
		l.Epoch != c.Epoch || l.Revision != c.Revision || l.Digest == c.Digest && l.Keys == c.Services {
		return
	}
	r.reload[cluster] = "digest"
}

// repair loads again the clusters that miss something. What is still different
// then is the agent's to mend: it is asked to, at most once a minute.
func (r *Replica) repair(ctx context.Context) {
	for cluster, reason := range r.reload {
		messages, err := r.stream.LoadWriter(ctx, registry.Writer(cluster))
		if err != nil {
			if ctx.Err() == nil {
				r.logger.Warn("a cluster can't be loaded again: trying later", "cluster", string(cluster), "err", err)
			}
			return
		}
		delete(r.reload, cluster)
		r.observer.Repaired(cluster, reason)
		for _, m := range messages {
			r.observer.Took(m.Fact.Writer, r.fold.Apply(m))
		}
		v := r.fold.View()
		r.store.Publish(v)
		r.logger.Warn("a cluster was loaded again", "cluster", string(cluster), "reason", reason, "sequence", v.Sequence())
		if reason == "digest" {
			r.askForResync(ctx, v.Cluster(cluster))
		}
	}
}

func (r *Replica) askForResync(ctx context.Context, c *registry.ClusterState) {
	r.mu.Lock()
	l := r.known[c.ID]
	r.mu.Unlock()
	if l.Epoch != c.Epoch || l.Revision != c.Revision || l.Digest == c.Digest && l.Keys == c.Services || time.Since(r.asked[c.ID]) < time.Minute {
		return
	}
	r.asked[c.ID] = time.Now()
	reason := fmt.Sprintf("at epoch %d revision %d the lease has %d services with digest %s, the stream %d with %s",
		l.Epoch, l.Revision, l.Keys, l.Digest, c.Services, c.Digest)
	r.logger.Error("a cluster differs from its agent's lease: asking for a resync", "cluster", string(c.ID), "why", reason)
	if err := r.stream.OrderResync(ctx, c.ID, reason); err != nil {
		r.logger.Warn("a resync can't be ordered", "cluster", string(c.ID), "err", err)
	}
}
