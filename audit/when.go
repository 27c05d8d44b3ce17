package audit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// When is a point of time as a person names it: a time, or a sequence of the stream.
// The zero When names none.
type When struct {
	Sequence uint64    // not 0: the state after this message
	Time     time.Time // else: the state after all that was stored up to then
	Asked    time.Time // when it was asked, so that the future can be told; zero: it can't
}

// IsZero reports whether it names no point of time.
func (w When) IsZero() bool { return w.Sequence == 0 && w.Time.IsZero() }

// future refuses a time that had not come when it was asked for.
func (w When) future() error {
	if w.Sequence == 0 && !w.Asked.IsZero() && w.Time.After(w.Asked) {
		return &NotYetError{fmt.Sprintf("%s is in the future: it is %s now", w, stamp(w.Asked))}
	}
	return nil
}

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
func ParseWhen(text string, now time.Time) (When, error) {
	plain := strings.ToLower(strings.Join(strings.Fields(text), " "))
	if digits, ok := strings.CutPrefix(plain, "#"); ok {
		sequence, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || sequence == 0 {
			return When{}, fmt.Errorf("%q is no sequence: write for example #912", clip(text))
		}
		return When{Sequence: sequence, Asked: now}, nil
	}
	if t, ok := parseTime(plain, now); ok {
		return When{Time: t, Asked: now}, nil
	}
	return When{}, fmt.Errorf("%q is no point of time: write for example 2026-03-01T14:02:00Z, 2026-03-01, 14:02, yesterday 14:02, 2h ago, now or #912 (a sequence)", clip(text))
}

// Relative reports whether a text that [ParseWhen] reads names a distance from now, so that
// it should be read by the clock of whoever has the history.
func Relative(text string) bool {
	plain := strings.ToLower(strings.Join(strings.Fields(text), " "))
	_, ago := parseAgo(plain)
	return ago || plain == "now"
}

// clock are the forms of a time of day; layouts those with a date and no zone.
var (
	clocks  = []string{"15:04", "15:04:05", "15:04:05.999999999"}
	layouts = []string{"2006-01-02", "2006-01-02t15:04", "2006-01-02t15:04:05.999999999", "2006-01-02 15:04", "2006-01-02 15:04:05.999999999"}
	agoForm = regexp.MustCompile(`^(\d{1,9}) ?(s|m|h|d|w|sec|secs|second|seconds|min|mins|minute|minutes|hour|hours|day|days|week|weeks) ago$`)
)

// parseTime reads what is no sequence, in lower case.
func parseTime(text string, now time.Time) (t time.Time, ok bool) {
	if text == "now" {
		return now, true
	}
	if span, isAgo := parseAgo(text); isAgo {
		return now.Add(-span), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00"} {
		if t, err := time.Parse(layout, strings.ToUpper(text)); err == nil {
			return t, true
		}
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(strings.ToUpper(layout), strings.ToUpper(text), now.Location()); err == nil {
			return t, true
		}
	}
	day, clock := 0, text
	switch first, rest, two := strings.Cut(text, " "); {
	case two && first == "yesterday":
		day, clock = -1, rest
	case two && first == "today":
		clock = rest
	case two:
		return time.Time{}, false
	}
	for _, layout := range clocks {
		c, err := time.Parse(layout, clock)
		if err != nil {
			continue
		}
		t = time.Date(now.Year(), now.Month(), now.Day()+day, c.Hour(), c.Minute(), c.Second(), c.Nanosecond(), now.Location())
		if clock == text && t.After(now) { // it was so late yesterday
			t = time.Date(now.Year(), now.Month(), now.Day()-1, c.Hour(), c.Minute(), c.Second(), c.Nanosecond(), now.Location())
		}
		return t, true
	}
	return time.Time{}, false
}

// parseAgo reads "2h ago", "1h30m ago", "3 days ago".
func parseAgo(text string) (span time.Duration, ok bool) {
	number, isAgo := strings.CutSuffix(text, " ago")
	if !isAgo {
		return 0, false
	}
	if parts := agoForm.FindStringSubmatch(text); parts != nil {
		count, err := strconv.ParseInt(parts[1], 10, 64)
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[parts[2][0]]
		if err != nil || count > int64(100*365*24*time.Hour/unit) {
			return 0, false
		}
		return time.Duration(count) * unit, true
	}
	span, err := time.ParseDuration(number)
	return span, err == nil && span >= 0
}

// clip shortens what somebody wrote, for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// Resolve finds the message after which the history is to be looked at. A point in the
// future, or a sequence that is not written yet, is an error that says so; one before
// the history begins is a [*TooEarlyError].
func Resolve(ctx context.Context, h History, when When) (Moment, error) {
	span, err := h.Span(ctx)
	if err == nil {
		err = span.reaches(when)
	}
	switch {
	case err != nil:
		return Moment{}, err
	case when.Sequence > 0:
		return storedAt(ctx, h, when.Sequence)
	case !when.Time.Before(span.End):
		return Moment{Sequence: span.Last, Time: when.Time.UTC()}, nil
	}
	after, err := h.SequenceAt(ctx, when.Time.Add(1)) // times have nanoseconds: the first one later
	if err != nil {
		return Moment{}, err
	}
	if first := span.behind(after); first > after { // it may be that of any message in the hole
		after = first
	}
	if after <= span.First { // it aged out meanwhile, or clocks went back
		return Moment{}, &TooEarlyError{
			Asked: when.String(), Earliest: Moment{Sequence: span.First, Time: span.Begin}, Reason: "it is before the history's beginning",
		}
	}
	return Moment{Sequence: after - 1, Time: when.Time.UTC()}, nil
}

// reaches tells why a point of time is not within the history; nil when it is.
func (s Span) reaches(when When) error {
	switch {
	case when.IsZero():
		return errors.New("no point of time is given")
	case s.Empty():
		return &TooEarlyError{Asked: when.String(), Reason: "the history is empty"}
	case when.Sequence > s.Last:
		return &NotYetError{fmt.Sprintf("%s is not written yet: the latest message is #%d, %s", when, s.Last, stamp(s.End))}
	case s.starts(when) && s.Whole():
		return s.tooEarly(when, "it is before the first message that was ever written")
	case s.starts(when):
		return s.tooEarly(when, reasonLost)
	}
	return when.future()
}

// reasonLost is why nothing is told of what was before the beginning of a history.
const reasonLost = "it is before the history's beginning; what is older has aged out, or is not among what is read"

// starts reports whether the history starts behind a point of time.
func (s Span) starts(when When) bool {
	return when.Sequence > 0 && when.Sequence < s.First || when.Sequence == 0 && when.Time.Before(s.Begin)
}

func (s Span) tooEarly(when When, reason string) *TooEarlyError {
	return &TooEarlyError{Asked: when.String(), Earliest: Moment{Sequence: s.First, Time: s.Begin}, Reason: reason}
}

// storedAt is the moment of a message that stands in the history.
func storedAt(ctx context.Context, h History, sequence uint64) (Moment, error) {
	for m, err := range h.Read(ctx, Range{From: sequence, To: sequence}) {
		if err != nil {
			return Moment{}, err
		}
		return Moment{Sequence: m.Sequence, Time: m.Time}, nil
	}
	return Moment{Sequence: sequence}, nil // a hole in the history: the state after it is the one before it
}

// stamp writes a time for a sentence.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// NotYetError says that a point of time had not come when it was asked for, or that a
// sequence is not written yet.
type NotYetError struct{ text string }

// Error is one sentence.
func (e *NotYetError) Error() string { return e.text }

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
	return fmt.Sprintf("%s: %s; the earliest moment possible is #%d, %s", e.Asked, e.Reason, e.Earliest.Sequence, stamp(e.Earliest.Time))
}
