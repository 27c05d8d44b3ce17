package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
)

// ErrStreamChanged ends a read whose stream is no longer the one it was reading: it
// was deleted, made again, restored from a backup, lost its last messages, or deleted
// messages that were not read yet. What was read stands for nothing now: read again
// from the start. [LossOf] tells which.
var ErrStreamChanged = errors.New("the stream is no longer the one that was being read")

// Loss is what became of a stream.
type Loss string

// What may become of a stream. Each has its cause behind the messages: a purge, a
// backup, writes that were acknowledged and not on disk when the power failed.
const (
	Deleted   Loss = "deleted"   // there is none
	Recreated Loss = "recreated" // it was made at another time
	CutShort  Loss = "cut_short" // it ends before what was read
	Purged    Loss = "purged"    // it begins behind what was read
	Replaced  Loss = "replaced"  // it has another message where the last one that was read stood
)

// lossError is an [ErrStreamChanged] that tells how.
type lossError struct {
	loss   Loss
	detail string
}

func (e *lossError) Error() string { return ErrStreamChanged.Error() + ": " + e.detail }

// Is makes it an [ErrStreamChanged].
func (e *lossError) Is(target error) bool { return target == ErrStreamChanged }

func changed(l Loss, format string, detail ...any) error {
	return &lossError{loss: l, detail: fmt.Sprintf(format, detail...)}
}

// LossOf returns what became of the stream that a read ended for; "" for other errors.
func LossOf(err error) Loss {
	if e, ok := errors.AsType[*lossError](err); ok {
		return e.loss
	}
	return ""
}

// notice makes a stream that is not there any more, for a while, one that has changed.
func (t *tail) notice(err error) error {
	switch {
	case !errors.Is(err, jetstream.ErrStreamNotFound) || !t.opened || t.restart:
		t.missing = time.Time{}
	case t.missing.IsZero():
		t.missing = time.Now()
	case time.Since(t.missing) >= missingTime:
		return changed(Deleted, "%s is not there any more", t.stream)
	}
	return err
}

// tell notes that the stream has answered, and what it said.
func (t *tail) tell(info *jetstream.StreamInfo) {
	if !t.tells {
		return
	}
	t.mu.Lock()
	current := t.ended && info.State.LastSeq <= t.last.sequence
	t.mu.Unlock()
	t.conn.contact.begins(info.State.FirstSeq)
	t.conn.contact.hear(current)
}

// Contact is what is heard of [EventsStream], whatever stands on it. Times are this
// machine's; zero: never.
type Contact struct {
	Connected bool      // to a server, now
	Heard     time.Time // when the stream answered, or a message came
	Current   time.Time // when all that the stream held had been read
	First     uint64    // the first sequence that the stream holds; 0: not known
}

// contact is what [Conn.Contact] returns, with its lock.
type contact struct {
	mu sync.Mutex
	Contact
}

func (c *contact) hear(current bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Heard = time.Now()
	if current {
		c.Current = c.Heard
	}
}

func (c *contact) begins(first uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.First = first
}

// Contact tells what [Conn.Follow] hears of the stream.
func (c *Conn) Contact() Contact {
	c.contact.mu.Lock()
	defer c.contact.mu.Unlock()
	now := c.contact.Contact
	now.Connected = c.Connected()
	return now
}

// State is what [EventsStream] is at one moment.
type State struct {
	Created     time.Time // another moment means another stream
	First, Last uint64    // sequences; Last is First-1 when it is empty
	Began       uint64    // the sequence it was made to begin with; 0: 1
}

// State asks the stream's leader.
func (c *Conn) State(ctx context.Context) (State, error) {
	info, err := c.streamInfo(ctx, EventsStream)
	if err != nil {
		return State{}, err
	}
	return State{Created: info.Created, First: info.State.FirstSeq, Last: info.State.LastSeq, Began: info.Config.FirstSeq}, nil
}

// Bounds of filling up.
const (
	MaxFill      = 5_000_000 // messages
	fillTogether = 2000
	fillPatience = 10 * time.Second // for the stream to grow
)

// ErrTooFar says that a stream ends too far before a sequence to be filled up to it.
var ErrTooFar = errors.New("the stream ends too far before what was read")

// NoteFill is the kind of the notes that fill up a stream.
const NoteFill = "fill"

// FillUp makes [EventsStream] reach to a sequence at least, by notes that state
// nothing, so that no reader's serial goes back where a stream takes the place of a
// longer one. Several may do it at the same time: it becomes some thousand messages
// longer than it need be at most. It returns how many were stored meanwhile. [ErrTooFar]
// says that more than [MaxFill] would be needed; nothing is stored then.
func (c *Conn) FillUp(ctx context.Context, to uint64, by string) (count uint64, err error) {
	state, err := c.State(ctx)
	if err != nil {
		return 0, err
	}
	began := state.Last
	if to > state.Last && to-state.Last > MaxFill {
		return 0, fmt.Errorf("%w: it ends at %d, %d was read", ErrTooFar, state.Last, to)
	}
	m, _, err := encodeEvent(&registry.Event{
		Schema: registry.Schema, ID: string(registry.Operator) + "-fill-" + rand.Text(), Kind: registry.KindNote, Writer: registry.Operator,
		Time: time.Now().UTC(), Agent: by, Cause: registry.CauseResync,
		Note: &registry.Note{Kind: NoteFill, Text: fmt.Sprintf("the stream is filled up to %d, which was read of the one before it", to)},
	}, c.nats.MaxPayload())
	if err != nil {
		return 0, err
	}
	m.Header = nil // nobody is to take the second for the first
	for grown := time.Now(); state.Last < to; {
		for range min(to-state.Last, fillTogether) {
			if err := c.nats.PublishMsg(m); err != nil {
				return state.Last - began, fmt.Errorf("fill up %s: %w", EventsStream, err)
			}
		}
		// The first one that is answered was stored after them.
		if _, err := c.publish(ctx, EventsStream, m); err != nil {
			return state.Last - began, fmt.Errorf("fill up: %w", err)
		}
		before := state.Last
		if state, err = c.State(ctx); err != nil {
			return before - began, err
		}
		if state.Last > before {
			grown = time.Now()
		} else if time.Since(grown) > fillPatience {
			return state.Last - began, fmt.Errorf("fill up %s: it stays at %d", EventsStream, state.Last)
		}
	}
	return state.Last - began, nil
}
