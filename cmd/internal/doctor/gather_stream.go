package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// follower reads the stream as a replica does, and keeps the notes, which no View shows.
// It orders nothing.
type follower struct {
	store   *registry.Store
	replica *replica.Replica
	begun   chan struct{}

	mu    sync.Mutex // guards notes
	notes map[registry.Fact]Note
}

func newFollower() *follower {
	return &follower{store: &registry.Store{}, begun: make(chan struct{}), notes: map[registry.Fact]Note{}}
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context, conn *stream.Conn) {
	f.replica = replica.New(f.store, readOnly{conn, f}, silent{}, slog.New(slog.DiscardHandler))
	close(f.begun)
	_ = f.replica.Run(ctx) // it ends with ctx, which says all
}

// ready waits until the stream was read once. Streams that can't be asked can't be read.
func (f *follower) ready(ctx context.Context, streams error) error {
	if streams != nil {
		return streams
	}
	ctx, stop := context.WithTimeout(ctx, foldTimeout)
	defer stop()
	if !wait(ctx, f.begun) {
		return context.Cause(ctx)
	}
	for {
		changed := f.store.Changed()
		if f.store.View().Synced() {
			return nil
		}
		if !wait(ctx, changed) {
			return fmt.Errorf("the stream could not be read within %v", foldTimeout)
		}
	}
}

func (f *follower) view() *registry.View { return f.store.View() }

func (f *follower) latestNotes() []Note {
	f.mu.Lock()
	defer f.mu.Unlock()
	var notes []Note
	for _, n := range f.notes {
		notes = append(notes, n)
	}
	slices.SortFunc(notes, func(a, b Note) int {
		return cmp.Or(strings.Compare(string(a.Writer), string(b.Writer)), strings.Compare(a.Note.Kind, b.Note.Kind))
	})
	return notes
}

// mostNotes bounds the notes that are kept.
const mostNotes = 100_000

func (f *follower) keep(messages []registry.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range messages {
		if m.Fact.Kind == registry.KindNote && m.Event != nil && m.Event.Note != nil && len(f.notes) < mostNotes {
			f.notes[m.Fact] = Note{Writer: m.Fact.Writer, Note: *m.Event.Note, Stored: m.Stored}
		}
	}
}

// readOnly is a replica's end of the stream that gives no orders.
type readOnly struct {
	*stream.Conn
	follower *follower
}

// Follow implements [replica.Stream].
func (r readOnly) Follow(ctx context.Context, f func([]registry.Message, bool) error) error {
	return r.Conn.Follow(ctx, func(messages []registry.Message, caughtUp bool) error {
		r.follower.keep(messages)
		return f(messages, caughtUp)
	})
}

// OrderResync implements [replica.Stream]: whoever looks changes nothing.
func (r readOnly) OrderResync(context.Context, registry.ClusterID, string) error { return nil }

// silent counts nothing.
type silent struct{}

func (silent) Took(registry.Writer, registry.Outcome)           {}
func (silent) Propagated(registry.ClusterID, time.Duration)     {}
func (silent) Repaired(cluster registry.ClusterID, what string) {}

// mostFighting bounds the clusters whose takeovers are looked at one by one.
const mostFighting = 10

// epochsOf reads who began the latest epochs of clusters that had several within an hour.
func epochsOf(ctx context.Context, conn *stream.Conn, v *registry.View) map[registry.ClusterID][]Epoch {
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	all := map[registry.ClusterID][]Epoch{}
	for _, c := range v.Clusters() {
		if len(c.Fences) <= restlessMost || len(all) >= mostFighting || c.Fences[len(c.Fences)-1].Epoch-c.Fences[len(c.Fences)-restlessMost-1].Epoch > uint64(time.Hour.Seconds()) {
			continue
		}
		subject, err := stream.Subject(registry.Fact{Writer: registry.Writer(c.ID), Kind: registry.KindEpoch})
		if err != nil {
			continue
		}
		var epochs []Epoch
		start := stream.StartAt{Policy: stream.FromSequence, Sequence: c.Fences[max(0, len(c.Fences)-2*restlessMost)].Sequence, Filter: []string{subject}, Until: v.Sequence()}
		err = conn.Read(ctx, start, func(b stream.Batch) error {
			for _, m := range b.Messages {
				if m.Event != nil {
					epochs = append(epochs, Epoch{Epoch: m.Epoch, Agent: m.Event.Agent})
				}
			}
			if b.CaughtUp {
				return errHeard
			}
			return nil
		})
		if err == nil || errors.Is(err, errHeard) {
			all[c.ID] = epochs
		}
	}
	return all
}

// errHeard ends a reading that has all it wanted.
var errHeard = errors.New("heard")

// signs hears the leases and reports for a while.
func (g *gathering) signs(ctx context.Context, conn *stream.Conn) Signs {
	if err := g.facts.Streams.Err; err != nil {
		return Signs{Err: err}
	}
	if g.facts.Streams.Lease.Name == "" {
		return Signs{Err: fmt.Errorf("stream %s is missing", stream.LeaseStream)}
	}
	hearing, stop := context.WithTimeout(ctx, heard)
	defer stop()
	leases, reports := map[registry.Writer]Lease{}, map[[2]string]ProbeReport{}
	var wg sync.WaitGroup
	var leasesErr, reportsErr error
	wg.Go(func() {
		leasesErr = conn.WatchLeases(hearing, func(l registry.Lease, stored, _ time.Time) {
			leases[l.Writer] = Lease{Lease: l, Stored: stored, Ahead: append(leases[l.Writer].Ahead, l.Time.Sub(stored))}
		})
	})
	wg.Go(func() {
		reportsErr = conn.WatchProbes(hearing, func(r registry.ProbeReport, stored, _ time.Time) {
			key := [2]string{string(r.Cluster), r.Vantage}
			reports[key] = ProbeReport{ProbeReport: r, Stored: stored, Ahead: append(reports[key].Ahead, r.Time.Sub(stored))}
		})
	})
	wg.Wait()
	s := Signs{Leases: leases}
	for _, r := range reports {
		s.Reports = append(s.Reports, r)
	}
	slices.SortFunc(s.Reports, func(a, b ProbeReport) int {
		return cmp.Or(strings.Compare(string(a.Cluster), string(b.Cluster)), strings.Compare(a.Vantage, b.Vantage))
	})
	for _, err := range []error{leasesErr, reportsErr} {
		if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.Err = fmt.Errorf("the leases and probe reports can't be read: %w", cmp.Or(err, ctx.Err()))
		}
	}
	if s.Err == nil && len(leases)+len(reports) == 0 && g.facts.Streams.Lease.Messages > 0 {
		s.Err = fmt.Errorf("nothing is heard of the leases and probe reports: may these credentials read %s?", stream.LeaseStream)
	}
	return s
}
