package audit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errLater is for what is declared and not built.
var errLater = errors.New("not built yet")

// When is a point of time as a person names it: a time, or a sequence of the stream.
// The zero When names none.
type When struct {
	Sequence uint64    // not 0: the state after this message
	Time     time.Time // else: the state after all that was stored up to then
	Asked    time.Time // when it was asked, so that the future can be told; zero: it can't
}

// IsZero reports whether it names no point of time.
func (w When) IsZero() bool { return w.Sequence == 0 && w.Time.IsZero() }

// String returns "#912" or the time (RFC 3339, UTC).
func (w When) String() string {
	if w.Sequence > 0 {
		return fmt.Sprintf("#%d", w.Sequence)
	}
	return w.Time.UTC().Format(time.RFC3339Nano)
}

// ParseWhen reads a point of time:
//
//	2026-03-01T14:02:00Z     RFC 3339; a space for the T, and no zone (now's), are allowed
//	2026-03-01               midnight
//	14:02   14:02:30         the last time that it was so late, in now's zone
//	yesterday 14:02          also "today"
//	2h ago   90s ago   3d ago
//	now
//	#912                     the state after the message with this sequence
//
// Any other text is an error that shows examples. Whether the history reaches to it
// is [Resolve]'s to say.
func ParseWhen(text string, now time.Time) (When, error) { return When{}, errLater }

// Resolve finds the message after which the history is to be looked at. A point in the
// future, or a sequence that is not written yet, is an error that says so; one before
// the history begins is a [*TooEarlyError].
func Resolve(ctx context.Context, h History, when When) (Moment, error) { return Moment{}, errLater }

// TooEarlyError says that the history does not reach back to a moment, or not with all
// that stood then.
type TooEarlyError struct {
	Asked    string
	Earliest Moment // from which on every answer is exact; zero when there is none
	Reason   string // a sentence
}

// Error tells what to ask instead.
func (e *TooEarlyError) Error() string {
	if e.Earliest.Sequence == 0 {
		return fmt.Sprintf("%s: %s", e.Asked, e.Reason)
	}
	return fmt.Sprintf("%s: %s; the earliest moment possible is #%d, %s", e.Asked, e.Reason,
		e.Earliest.Sequence, e.Earliest.Time.UTC().Format(time.RFC3339))
}
