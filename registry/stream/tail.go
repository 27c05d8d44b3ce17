package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	checkInterval  = 2 * time.Second        // between two looks at the stream's state
	doubtPause     = 500 * time.Millisecond // before a look is repeated that found something wrong
	doubts         = 3                      // looks in a row that must agree before a read ends
	firstRetry     = 50 * time.Millisecond
	longestRetry   = 2 * time.Second
	missingTime    = 2 * time.Second  // for which a stream that was there must be missing until a read ends
	inactiveTime   = 30 * time.Second // after which the server forgets a consumer that nobody asks
	consumerPrefix = "seamark-"
)

var (
	errReconnected = errors.New("the connection was made anew")
	errDoubt       = errors.New("the stream seems to have changed")
)

// tailConfig says what to read.
type tailConfig struct {
	stream   string
	filters  []string // none: all
	policy   Start
	sequence uint64 // for FromSequence: the first one wanted
	atLeast  uint64 // the end is not reached before this sequence
	restart  bool   // begin again from the start where ErrStreamChanged would end it
	tells    bool   // Conn.Contact is about this read
}

// tail reads a stream in order, each message once, for as long as its context
// lasts. It owns one ephemeral consumer at a time; when that one is lost, or
// anything about it is odd, the next begins after the last message that was taken.
type tail struct {
	tailConfig
	conn  *Conn
	queue *queue

	mu     sync.Mutex // guards the fields below
	last   position   // of the last message that was taken
	target uint64     // the end is not reached before this sequence
	ended  bool       // the end was reached by this consumer
	once   bool       // … by any

	opened  bool      // the stream was there once
	created time.Time // of the stream that is being read; zero until it was seen
	doubted int       // looks in a row that found something wrong
	looked  uint64    // where the stream ended at the last look
	missing time.Time // since when the stream is not there, although it was; zero: it is
}

// position is a message that was taken, with what tells it from another one that a
// restored stream has in its place.
type position struct {
	sequence uint64
	subject  string
	stored   time.Time
}

// run fills the queue until ctx ends or the tail can't go on.
func (t *tail) run(ctx context.Context) error {
	retry, said := firstRetry, false
	for {
		reconnected := t.conn.Reconnected()
		began := time.Now()
		err := t.consume(ctx, reconnected)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case t.conn.nats.IsClosed():
			return fmt.Errorf("read %s: %w", t.stream, nats.ErrConnectionClosed)
		case errors.Is(err, ErrStreamChanged) && t.restart:
			t.conn.log.Warn("reading a stream again from its start", "stream", t.stream, "err", err)
			t.forget()
			continue
		case errors.Is(err, ErrStreamChanged), errors.Is(err, jetstream.ErrStreamNotFound) && !t.opened:
			return err
		case errors.Is(err, errReconnected), errors.Is(err, errNoEnd):
			retry, said = firstRetry, false
			continue
		}
		if time.Since(began) > longestRetry {
			retry, said = firstRetry, false
		}
		if !said && t.conn.Connected() {
			said = true
			t.conn.log.Warn("a stream can't be read: trying again", "stream", t.stream, "err", err)
		}
		timer := time.NewTimer(retry)
		select {
		case <-timer.C:
		case <-reconnected:
		case <-t.conn.closed:
		case <-ctx.Done():
		}
		timer.Stop()
		retry = min(2*retry, longestRetry)
	}
}

// forget makes the tail begin anew.
func (t *tail) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.target, t.once = position{}, 0, false
	t.created, t.doubted, t.looked = time.Time{}, 0, 0
}

// consume makes a consumer and lives with it until something is wrong.
func (t *tail) consume(ctx context.Context, reconnected <-chan struct{}) error {
	at := t.reached()
	info, err := t.conn.streamInfo(ctx, t.stream)
	if err = t.notice(err); err != nil {
		return err
	}
	if err := t.check(ctx, at, info, true); err != nil {
		return err
	}
	if t.created.IsZero() {
		t.begin(info)
	}
	config := t.consumerConfig()
	bounded, stop := t.conn.bound(ctx)
	consumer, err := t.conn.js.CreateConsumer(bounded, t.stream, config)
	stop()
	if err != nil {
		return fmt.Errorf("read %s: %w", t.stream, err)
	}
	if err := t.aim(ctx); err != nil {
		return err
	}
	p, err := t.open(ctx, config.Name)
	if err != nil {
		return err
	}
	defer p.close()
	if consumer.CachedInfo().NumPending == 0 {
		t.reachEnd(p)
	}
	if err := p.begin(); err != nil {
		return err
	}
	return t.live(ctx, p, reconnected)
}

// live waits for the consumer's end, and looks after the stream meanwhile.
func (t *tail) live(ctx context.Context, p *pull, reconnected <-chan struct{}) error {
	look := time.NewTimer(checkInterval)
	defer look.Stop()
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-p.fault:
			return err
		case <-reconnected:
			return errReconnected
		case <-t.conn.closed:
			return nats.ErrConnectionClosed
		case <-heartbeat.C:
			if p.silent() {
				return fmt.Errorf("read %s: the consumer is silent", t.stream)
			}
		case <-look.C:
			next := checkInterval
			at := t.reached()
			info, err := t.conn.streamInfo(ctx, t.stream)
			if err = t.notice(err); err == nil {
				err = t.check(ctx, at, info, false)
			}
			if err == nil {
				t.tell(info)
			}
			switch {
			case errors.Is(err, errDoubt):
				next = doubtPause
			case errors.Is(err, ErrStreamChanged):
				return err
			case err == nil:
				if err := t.look(p, info); err != nil {
					return err
				}
			}
			look.Reset(next)
		}
	}
}

// errNoEnd makes a new consumer, whose creation tells how much is waiting.
var errNoEnd = errors.New("the end of the stream was not reached, and nothing comes")

// look finds the end where no message told it: the last ones were deleted for
// their age, the server counted wrong, or the replica that serves us lags.
func (t *tail) look(p *pull, info *jetstream.StreamInfo) error {
	t.mu.Lock()
	if t.target != 0 && info.State.FirstSeq > t.target {
		t.target = 0
	}
	known := t.ended
	t.mu.Unlock()
	if p.rested() && !known {
		return errNoEnd
	}
	return nil
}

// begin remembers which stream this is and where its end was.
func (t *tail) begin(info *jetstream.StreamInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened = true
	t.created, t.target = info.Created, t.atLeast
}

// aim sets the end that is to be reached: what the stream's leader holds once the
// consumer exists. Whoever waited for a moment when nothing is waiting could wait
// for ever while others write. With filters the last message may be none of ours.
func (t *tail) aim(ctx context.Context) error {
	if len(t.filters) > 0 {
		return nil
	}
	info, err := t.conn.streamInfo(ctx, t.stream)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if info.State.Msgs > 0 {
		t.target = max(t.target, info.State.LastSeq)
	}
	return nil
}

// reading is how far a tail has come.
type reading struct {
	last     position
	caughtUp bool // once, at least
}

// reached returns how far the tail has come.
func (t *tail) reached() reading {
	t.mu.Lock()
	defer t.mu.Unlock()
	return reading{last: t.last, caughtUp: t.once}
}

// check holds the stream to what was read of it before info was asked for: what
// comes while that is on its way may be more than it tells. What may be a replica
// that lags is only a doubt, until it was seen several times.
func (t *tail) check(ctx context.Context, at reading, info *jetstream.StreamInfo, thorough bool) error {
	if t.created.IsZero() {
		return nil
	}
	last, caughtUp := at.last, at.caughtUp
	state := info.State
	switch {
	case !info.Created.Equal(t.created):
		return changed(Recreated, "%s was made anew at %s", t.stream, info.Created.Format(time.RFC3339))
	case state.LastSeq < last.sequence:
		if t.doubted++; t.doubted < doubts {
			if thorough {
				if err := wait(ctx, doubtPause); err != nil {
					return err
				}
			}
			return errDoubt
		}
		return changed(CutShort, "%s ends at %d, before %d which was read", t.stream, state.LastSeq, last.sequence)
	case caughtUp && len(t.filters) == 0 && state.FirstSeq > last.sequence+1:
		return changed(Purged, "%s begins at %d, behind %d which was read last", t.stream, state.FirstSeq, last.sequence)
	case caughtUp && t.tells && t.looked > 0 && state.FirstSeq > t.looked: // facts are written again every day: no age does that
		return changed(Purged, "%s begins at %d, behind all that it held a moment ago", t.stream, state.FirstSeq)
	}
	t.doubted = 0
	if state.Msgs > 0 {
		t.looked = state.LastSeq
	}
	if !thorough || len(t.filters) > 0 || last.sequence == 0 || last.sequence < state.FirstSeq {
		return nil
	}
	m, found, err := t.conn.at(ctx, t.stream, last.sequence)
	if err != nil {
		return err
	}
	if found && (m.subject != last.subject || !m.stored.Equal(last.stored)) {
		return changed(Replaced, "%s has another message at %d than was read", t.stream, last.sequence)
	}
	return nil
}

// consumerConfig is the next consumer's.
func (t *tail) consumerConfig() jetstream.ConsumerConfig {
	t.mu.Lock()
	defer t.mu.Unlock()
	config := jetstream.ConsumerConfig{
		Name: consumerPrefix + rand.Text(), AckPolicy: jetstream.AckNonePolicy, MaxDeliver: -1,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: inactiveTime,
	}
	filters := t.filters
	if len(filters) == 0 {
		filters = []string{root + ">"}
	}
	if len(filters) == 1 {
		config.FilterSubject = filters[0]
	} else {
		config.FilterSubjects = filters
	}
	switch {
	case t.last.sequence > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, t.last.sequence+1
	case t.policy == LastPerSubject:
		config.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case t.policy == FromSequence:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(t.sequence, 1)
	default:
		config.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	return config
}

// take puts a message in the queue; p.mu is held. False: p was given up, or
// something is missing.
func (t *tail) take(p *pull, i item, delivered, pending uint64) bool {
	if delivered != p.delivered+1 {
		p.fail(fmt.Errorf("read %s: message %d of the consumer came after %d", t.stream, delivered, p.delivered))
		return false
	}
	t.mu.Lock()
	i.atEnd = i.sequence >= t.target && (pending == 0 || !t.ended && len(t.filters) == 0)
	t.mu.Unlock()
	if !t.queue.put(p.stop, i) {
		return false
	}
	p.delivered = delivered
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = position{sequence: i.sequence, subject: i.subject, stored: i.stored}
	if i.atEnd {
		t.ended, t.once, t.target = true, true, 0
	}
	if t.tells {
		t.conn.contact.hear(i.atEnd)
	}
	return true
}

// reachEnd says that nothing is waiting, where no message can say it.
func (t *tail) reachEnd(p *pull) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.mu.Lock()
	already := t.ended || t.last.sequence < t.target
	t.mu.Unlock()
	if already || !t.queue.put(p.stop, item{atEnd: true}) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.once, t.target = true, true, 0
	if t.tells {
		t.conn.contact.hear(true)
	}
}
