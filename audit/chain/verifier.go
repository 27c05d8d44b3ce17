package chain

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Options says how to verify. The zero Options check digests, order and signatures, and
// take any key.
type Options struct {
	Keys        *Keys        // which keys may sign for whom; nil: all, and nobody must
	Checkpoints []Checkpoint // what the history is held against

	// Whole says that the messages of all subjects are added, not only those of some: then
	// sequences that are missing are missing messages.
	Whole bool

	// From is the first sequence that is added, 0: the oldest there is; ToEnd says that all
	// is added up to the history's end. What a checkpoint names between them and is not
	// there is gone.
	From  uint64
	ToEnd bool

	// Bounds are what is known of the history beside its messages.
	Bounds Bounds

	// Known are ranges of sequences, ascending, that are known to be gone: they had aged out
	// before they were archived, or a stream was made anew behind them. What can only be
	// missing there is told ([Report]'s AgedOut), and is no fault.
	Known [][2]uint64

	Limit int // of faults that are kept; 0: 1,000
}

// Verifier checks messages one after another, in the order of their sequences. It keeps
// some 50 bytes for each message, and one entry for each subject. Use it by one goroutine.
type Verifier struct {
	options   Options
	writers   map[registry.Writer]*writer
	report    Report // counts and sequences
	holes     []Fault
	disguised map[stream.Link]bool // what altered messages claim to be
	more      int
}

// New returns a Verifier that has seen nothing.
func New(o Options) *Verifier {
	if o.Limit <= 0 {
		o.Limit = 1000
	}
	return &Verifier{options: o, writers: map[registry.Writer]*writer{}, disguised: map[stream.Link]bool{}}
}

// Add checks the next message. It returns its own fault (altered, a wrong or missing
// signature) if it has one; what follows from the order is in the [Report]. A message
// that does not stand behind the one before is passed over.
func (v *Verifier) Add(s registry.Stored) *Fault {
	if s.Sequence <= v.report.Last {
		return nil
	}
	x := v.options.examine(s)
	return v.place(&x)
}

func (v *Verifier) place(x *examined) *Fault {
	r := &v.report
	if x.sequence <= r.Last {
		return nil
	}
	if r.Messages++; r.Messages == 1 {
		r.First = x.sequence
	} else if v.options.Whole && x.sequence > r.Last+1 {
		v.absent(r.Last+1, x.sequence-1)
	}
	r.Last = x.sequence
	if x.foreign {
		r.Foreign++
		if x.fault != nil && x.fact.Writer != "" {
			v.writer(x.fact.Writer).accept(x)
		}
		return x.fault
	}
	return v.writer(x.fact.Writer).add(x)
}

func (v *Verifier) writer(name registry.Writer) *writer {
	w := v.writers[name]
	if w == nil {
		w = newWriter(name, v.disguised)
		v.writers[name] = w
	}
	return w
}

// absent takes what is missing between two messages: only what is not known is a fault.
func (v *Verifier) absent(from, to uint64) {
	for _, known := range v.options.Known {
		if known[1] < from || known[0] > to {
			continue
		}
		if known[0] > from {
			v.hole(from, known[0]-1)
		}
		if aged := [2]uint64{max(known[0], from), min(known[1], to)}; len(v.report.AgedOut) < maxOwn {
			v.report.AgedOut = append(v.report.AgedOut, aged)
		}
		if from = known[1] + 1; from > to {
			return
		}
	}
	v.hole(from, to)
}

func (v *Verifier) hole(from, to uint64) {
	if len(v.holes) >= maxOwn {
		v.more++
		return
	}
	f := Fault{Kind: Missing, Sequence: from, Last: to, Detail: "the history has no message with this sequence"}
	if to > from {
		f.Detail = fmt.Sprintf("the history has no message with these %d sequences", to-from+1)
	}
	v.holes = append(v.holes, f)
}

// AddAll adds all of a sequence, on all cores, until it ends or yields an error, which is
// returned; so is ctx's. Messages is called on another goroutine, which has ended when
// AddAll returns.
func (v *Verifier) AddAll(ctx context.Context, messages iter.Seq2[registry.Stored, error]) error {
	read := func(context.Context) iter.Seq2[registry.Stored, error] { return messages }
	examine := func() func(registry.Stored) examined { return v.options.examine }
	for all, err := range stream.OnAllCores(ctx, read, examine) {
		if err != nil {
			return err
		}
		for n := range all {
			v.place(&all[n])
		}
	}
	return nil
}

// Report tells what was found so far. More may be added after it.
func (v *Verifier) Report() Report {
	r := v.report
	faults := slices.Clone(v.holes)
	r.AgedOut = slices.Clone(r.AgedOut)
	r.More = v.more
	trunks := map[registry.Writer][]*trunk{}
	for _, name := range slices.Sorted(maps.Keys(v.writers)) {
		j := v.writers[name].judge(v.options.Known)
		r.Writers = append(r.Writers, j.told)
		faults = append(faults, j.faults...)
		r.More += j.more
		trunks[name] = j.trunks
	}
	if f := v.beginning(&r); f != nil {
		faults = append(faults, *f)
	}
	slices.SortStableFunc(faults, bySequence)
	if len(faults) > v.options.Limit {
		r.More += len(faults) - v.options.Limit
		faults = faults[:v.options.Limit]
	}
	r.Faults = faults
	for _, c := range v.options.Checkpoints {
		for _, h := range c.Heads {
			word := CheckpointWord{Head: h, Made: c.Made.Format(time.RFC3339)}
			word.Verdict, word.Detail = v.against(c, h, trunks[h.Writer])
			r.Checkpoints = append(r.Checkpoints, word)
		}
	}
	return r
}

// against looks for the message that a checkpoint names.
func (v *Verifier) against(c Checkpoint, h Head, trunks []*trunk) (Verdict, string) {
	for _, t := range trunks {
		if t.epoch.number != h.Epoch {
			continue
		}
		switch e := t.at(h.Revision); {
		case e == nil:
		case e.link == h.Link && !e.faulty && e.sequence == h.Sequence:
			return Met, fmt.Sprintf("stands at #%d", h.Sequence)
		case e.link == h.Link && !e.faulty:
			return Moved, fmt.Sprintf("stood at #%d, stands at #%d: the stream was made anew", h.Sequence, e.sequence)
		default:
			return Rewritten, fmt.Sprintf("another message stands at #%d", e.sequence)
		}
	}
	first := v.first()
	switch {
	case h.Sequence >= first && h.Sequence < v.options.From:
		return NotRead, fmt.Sprintf("what was read begins at #%d", v.options.From)
	case h.Sequence > v.report.Last && !v.options.ToEnd:
		return NotRead, fmt.Sprintf("what was read ends at #%d", v.report.Last)
	case h.Sequence < first || first == 0:
		return v.options.Bounds.before(c, h, first)
	}
	if slices.ContainsFunc(v.options.Known, func(k [2]uint64) bool { return k[0] <= h.Sequence && h.Sequence <= k[1] }) {
		return TooOld, fmt.Sprintf("it stood at #%d, which has aged out: nothing is proved about it", h.Sequence)
	}
	return Gone, fmt.Sprintf("it stood at #%d and is not there", h.Sequence)
}

// VerifyAgainst verifies a history against checkpoints: it proves that what led to each
// message that they name was not rewritten since, as far as the history still reaches back
// and is intact. It is [New], [Verifier.AddAll] and [Verifier.Report], and looks whether
// the history was read up to the last sequence that its Bounds name.
func VerifyAgainst(ctx context.Context, o Options, messages iter.Seq2[registry.Stored, error]) (Report, error) {
	v := New(o)
	err := v.AddAll(ctx, messages)
	if err == nil {
		v.atEnd()
	}
	return v.Report(), err
}
