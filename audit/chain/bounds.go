package chain

import (
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// Bounds are what is known of a history beside its messages: from whoever holds it, which is
// mostly the stream. Of the zero Bounds nothing is known.
type Bounds struct {
	First, Last uint64    // the sequences of the oldest message and of the newest; First > Last: there is none
	Began       uint64    // the first sequence that it ever had
	Begin, End  time.Time // when the oldest message was stored, and the newest, even if that is gone

	Retention *stream.Retention // how long it keeps its messages; nil: not known
	Asked     time.Time         // when all this was so
}

// quiet is the longest time in which a running mesh stores nothing: every writer publishes
// all it owns again once a day.
const quiet = 26 * time.Hour

// kept is how long the history was to keep its messages, now or when a checkpoint was made:
// the shorter one, for what went before the age was raised is gone for ever.
func (b Bounds) kept(checkpoints ...Checkpoint) stream.Retention {
	r := *b.Retention
	for _, c := range checkpoints {
		if age := time.Duration(c.Retention) * time.Second; age > 0 && (r.Age == 0 || age < r.Age) {
			r.Age = age
		}
	}
	return r
}

// before is the verdict on what a checkpoint names before the history begins.
func (b Bounds) before(c Checkpoint, h Head, first uint64) (Verdict, string) {
	begins := fmt.Sprintf("the history begins at #%d", first)
	if first == 0 || b.Last > 0 && b.First > b.Last {
		begins = "the history is empty"
	}
	if b.Retention != nil {
		kept := b.kept(c)
		full := kept.Full
		kept.Full = false
		switch stored := h.Stored.UTC().Format(time.RFC3339); {
		case !kept.Holds(h.Stored, b.Asked):
		case full:
			return TooOld, fmt.Sprintf("%s: as the stream is full, it was dropped before its age (%s): nothing is proved about it", begins, forAge(kept.Age))
		default:
			return Gone, fmt.Sprintf("%s: it was stored at #%d on %s, and is to be kept %s", begins, h.Sequence, stored, forAge(kept.Age))
		}
	}
	return TooOld, begins + ": nothing is proved about it"
}

// beginning judges what is gone from before the history begins: what was too young to age
// out was taken away. What is no fault and yet worth a word goes to the report.
func (v *Verifier) beginning(r *Report) *Fault {
	b := v.options.Bounds
	if b.Retention == nil {
		return nil
	}
	r.Retention = int64(b.Retention.Age / time.Second)
	r.Notes = append(r.Notes, "the stream keeps its messages "+forAge(b.Retention.Age))
	for _, c := range v.options.Checkpoints {
		if c.Retention > 0 && c.Retention != r.Retention {
			r.Notes = append(r.Notes, fmt.Sprintf("when the checkpoint of %s was made it kept them %s",
				c.Made.UTC().Format(time.RFC3339), forAge(time.Duration(c.Retention)*time.Second)))
		}
	}
	kept := b.kept(v.options.Checkpoints...)
	full := kept.Full
	kept.Full = false
	latest := b.Begin.Add(-quiet) // by then the message before the first one was stored
	if b.First > b.Last {
		latest = b.End
	}
	asBefore := func(c Checkpoint) bool { return b.First <= c.Began } // then nothing has gone since
	if b.First <= max(b.Began, 1) || !kept.Holds(latest, b.Asked) || slices.ContainsFunc(v.options.Checkpoints, asBefore) {
		return nil
	}
	what := fmt.Sprintf("the history begins with #%d, stored on %s", b.First, b.Begin.UTC().Format(time.RFC3339))
	if b.First > b.Last {
		what = "the history is empty"
	}
	what += fmt.Sprintf(", although it keeps messages %s", forAge(kept.Age))
	if full {
		r.Notes = append(r.Notes, what+": it is full, and the oldest are dropped before their age")
		return nil
	}
	return &Fault{Kind: Missing, Sequence: b.First - 1, Detail: what + ": what stood before was taken away"}
}

// first is the sequence with which the history begins; 0: it is not known, or there is none.
func (v *Verifier) first() uint64 {
	first := v.options.Bounds.First
	if v.report.Messages > 0 && (first == 0 || v.options.Whole && v.options.From <= first) {
		first = max(first, v.report.First)
	}
	return first
}

// atEnd is told that all was added: what the history has behind it is missing.
func (v *Verifier) atEnd() {
	o := v.options
	from := max(v.report.Last+1, o.Bounds.First, o.From)
	if o.Whole && o.ToEnd && from <= o.Bounds.Last {
		v.absent(from, o.Bounds.Last)
	}
}

// forAge says how long something is kept.
func forAge(age time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case age == 0:
		return "for ever"
	case age >= 2*day && age%day == 0:
		return fmt.Sprintf("for %d days", age/day)
	}
	return "for " + age.String()
}
