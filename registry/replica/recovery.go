package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
)

// ErrLost is wrapped by the error of [Stream].Follow when the stream is no longer the
// one that was followed. What is known stands, and [Recovery].Begin is asked anew.
var ErrLost = errors.New("the stream was lost")

// Place is how far a reader has come, in which stream. The zero Place is nowhere.
type Place struct {
	Created  time.Time // when the stream was made: another moment is another stream
	Sequence uint64
	Lost     bool // the stream is known to have changed since

	// What a checkpoint alone tells: when its latest message was stored, by the stream's
	// clock, or when it was current by the reader's, if that is earlier; and when the streams were made whose place this one took, as far as is known.
	Stored time.Time
	Before []time.Time
}

// Beginning is the stream that is to be followed now.
type Beginning struct {
	Created time.Time
	Lost    bool // it takes the place of the one that known was of
	Foreign bool // it can't: it stood already while that one did, so that nothing known counts. Of checkpoints only
}

// Contact is what is heard of the stream, by this machine's clock; zero times: nothing yet.
type Contact struct {
	Connected bool      // to a server, now
	Heard     time.Time // when the stream answered, or a message came
	Current   time.Time // when all that the stream held had been read
}

// Recovery is what a replica needs of the stream to go on where it is lost, and to know
// when it is cut off.
type Recovery interface {
	// Begin makes sure that there is a stream, and that it reaches beyond known when it
	// is another one, so that the sequence never goes back.
	Begin(ctx context.Context, known Place) (Beginning, error)
	// Stands reports whether the stream is still the one that began there, and reaches as far.
	Stands(ctx context.Context, at Place) (bool, error)
	// Contact tells what is heard of the stream. It does not block.
	Contact() Contact
	// Put stores an event of [registry.Operator] after the message with the sequence
	// expect (0: none), or returns [registry.ErrConflict].
	Put(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error)
}

// Options are what a replica may be given beside the stream. The zero Options notice
// neither losses nor silence, and are ready when cut off.
type Options struct {
	Recovery Recovery
	By       string // who writes again what of the operator's was lost

	NotReadyWhenStale bool          // Ready fails while the replica is cut off
	MaxStale          time.Duration // … and when it has been for longer; 0: never
	ReadyAfter        time.Duration // how long a replica that began from a checkpoint is not ready
}

// Use sets the options; call it before Run.
func (r *Replica) Use(o Options) { r.options = o }

// How long nothing may be heard until Views are marked as cut off. A server that is
// restarted, or a leader that is elected, is no reason.
const (
	patienceWithout = 3 * time.Second  // a connection
	patience        = 10 * time.Second // any answer
)

// session is one Follow.
type session struct {
	Beginning
	why  string // when Lost
	done chan struct{}
}

// follow follows the stream until it can't go on, and then the one that is there.
func (r *Replica) follow(ctx context.Context) {
	known, why, followed := r.place, "", false
	r.again(ctx, "follow the stream", func() error {
		if r.options.Recovery == nil {
			return r.stream.Follow(ctx, r.hand(ctx))
		}
		known.Sequence = max(known.Sequence, r.reached.Load())
		begun, err := r.options.Recovery.Begin(ctx, known)
		if err != nil {
			return fmt.Errorf("begin to follow: %w", err)
		}
		begun.Lost = !begun.Foreign && (begun.Lost || known.Lost)
		if begun.Lost {
			if why == "" {
				why = "it is another one than before"
			}
			if err := r.restate(ctx, !followed); err != nil {
				return fmt.Errorf("write again what the operator said: %w", err)
			}
		}
		s := session{Beginning: begun, why: why, done: make(chan struct{})}
		select {
		case r.sessions <- s:
			<-s.done
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		from := Place{Created: begun.Created, Sequence: known.Sequence}
		if begun.Foreign {
			from.Sequence = 0
		}
		known, why, followed = Place{Created: begun.Created}, "", true
		err = r.stream.Follow(ctx, r.handFrom(ctx, from))
		if errors.Is(err, ErrLost) {
			known.Lost, why = true, err.Error()
			r.lose(ctx, why)
		}
		return err
	})
}

// handFrom is hand for a stream that was found at a place. Follow knows only what it has
// read itself: what befell the stream between the look at it and its first message is
// looked for before its end is believed.
func (r *Replica) handFrom(ctx context.Context, from Place) func([]registry.Message, bool) error {
	hand, sure := r.hand(ctx), false
	return func(messages []registry.Message, caughtUp bool) error {
		if caughtUp && !sure {
			stands, err := r.options.Recovery.Stands(ctx, from)
			if err != nil {
				return fmt.Errorf("look again at the stream that was read: %w", err)
			}
			if !stands {
				return fmt.Errorf("%w: it changed while its reading began", ErrLost)
			}
			sure = true
		}
		return hand(messages, caughtUp)
	}
}

// lose tells Run's goroutine that what is known can't be current any more.
func (r *Replica) lose(ctx context.Context, why string) {
	select {
	case r.losses <- why:
	case <-ctx.Done():
	}
}

// begin makes the fold ready for the stream that is followed next. What is shown
// stands until the new fold has caught up.
func (r *Replica) begin(s session) {
	r.behind = true
	r.move()
	switch {
	case s.Foreign && r.shown != nil:
		r.drop()
	case s.Lost && r.shown != nil:
		r.logger.Error("the stream was lost: the answers stand, and each cluster's until its agent has published everything anew",
			"why", s.why, "sequence", r.shown.Sequence())
		r.renew(registry.Inherit(r.shown.Current()))
		r.fold.Synced()
		r.live = true
		r.cutOff("the stream was lost", time.Now())
	case s.Lost, !r.live:
		r.renew(registry.Restore(r.inheritance, 0))
	}
	if s.Lost && !r.created.IsZero() && !r.created.Equal(s.Created) {
		from := max(0, len(r.before)+1-checkpoint.MaxBefore)
		r.before = append(slices.Clone(r.before[from:]), r.created)
	}
	r.created = s.Created
}

// renew replaces the fold, and forgets all that belongs to the stream before.
func (r *Replica) renew(f *registry.Fold) {
	r.fold, r.followed, r.rereading, r.atEnd = f, 0, false, time.Time{}
	r.generation++
	r.reset()
	clear(r.met)
	clear(r.amiss)
	clear(r.settling)
	clear(r.inherited)
	for _, c := range f.View().Clusters() {
		if c.Inherited() {
			r.inherited[c.ID] = true
		}
	}
}

// settling is a cluster that has published all it owns on a stream that took another's place.
type settling struct {
	marked uint64 // the sequence of the mark that says so
	upTo   uint64 // of the latest of its messages then; 0: not loaded yet
}

// completed loads what an agent has published, of which older messages of this stream
// were passed over until now. A load that is on its way already does not count.
func (r *Replica) completed(cluster registry.ClusterID, m registry.Message) {
	r.settling[cluster] = settling{marked: m.Sequence}
	r.queue(registry.Writer(cluster))
	r.reloads[cluster] = &reload{reason: reasonLoss, due: time.Now()}
}

// reasonLoss is why a cluster is loaded once it has published everything anew.
const reasonLoss = "loss"

// loaded notes up to where the tail must come until what was not said again is dropped.
// It reports whether all was there: a replica of the stream may lag.
func (r *Replica) loaded(cluster registry.ClusterID, messages []registry.Message) bool {
	s, waits := r.settling[cluster]
	if !waits {
		return true
	}
	latest := uint64(0)
	for _, m := range messages {
		latest = max(latest, m.Sequence)
	}
	if latest < s.marked {
		return false
	}
	s.upTo = latest
	r.settling[cluster] = s
	return true
}

// settle drops what was known of clusters from another stream and was not said again.
// It reports whether there was any.
func (r *Replica) settle() (any bool) {
	for cluster, s := range r.settling {
		if s.upTo == 0 || r.followed < s.upTo {
			continue
		}
		r.fold.Settle(cluster)
		delete(r.settling, cluster)
		delete(r.inherited, cluster)
		any = true
		r.logger.Info("a cluster has published everything anew", "cluster", string(cluster), "sequence", r.followed, "clusters_left", len(r.inherited))
	}
	return any
}

// cutOff marks what is shown, once.
func (r *Replica) cutOff(why string, now time.Time) {
	if r.cut != nil || r.shown == nil {
		return
	}
	since := now
	if r.options.Recovery != nil {
		if c := r.options.Recovery.Contact(); !c.Current.IsZero() {
			since = c.Current
		}
	}
	r.cut, r.cutAt = &registry.Cut{Since: since, Reason: why}, now
	r.logger.Warn("cut off: the answers stand, marked as stale", "why", why, "since", since)
	r.publish(r.shown)
}

// join ends that mark.
func (r *Replica) join() {
	if r.cut == nil {
		return
	}
	r.logger.Info("current again", "cut_off_for", time.Since(r.cut.Since).Round(time.Millisecond))
	r.cut = nil
}

// hear looks whether anything is heard of the stream.
func (r *Replica) hear(now time.Time) {
	if r.options.Recovery == nil || r.shown == nil {
		return
	}
	c := r.options.Recovery.Contact()
	heard := c.Heard
	if heard.Before(r.began) {
		heard = r.began
	}
	switch silent := now.Sub(heard); {
	case r.cut == nil && !c.Connected && silent >= patienceWithout:
		r.cutOff("the connection to NATS is lost", now)
	case r.cut == nil && silent >= patience:
		r.cutOff("the stream does not answer", now)
	case r.cut != nil && !r.behind && c.Connected && c.Current.After(r.cutAt):
		r.join()
		r.publish(r.shown)
	}
}

// publish shows a View of the fold, unless a checkpoint's is kept back and this one is no
// more current.
func (r *Replica) publish(v *registry.View) {
	r.shown = v
	r.reached.Store(v.Sequence())
	if r.cut != nil {
		v = v.CutOff(*r.cut)
	}
	r.showing.Lock()
	defer r.showing.Unlock()
	if r.held != nil && r.cut != nil {
		r.held = v
		return
	}
	r.held, r.dropped = nil, false
	r.store.Publish(v)
	r.synced.Store(true)
}
