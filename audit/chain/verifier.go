package chain

import (
	"context"
	"iter"

	"github.com/seamark-mesh/seamark/registry"
)

// Options says how to verify. The zero Options check digests, order and signatures, and
// take any key.
type Options struct {
	Keys        *Keys        // which keys may sign for whom; nil: all, and nobody must
	Checkpoints []Checkpoint // what the history is held against

	// Whole says that every message of the history is added, not only those of some
	// subjects: then sequences that are missing are missing messages.
	Whole bool

	Limit int // of faults that are kept; 0: 1,000
}

// Verifier checks messages one after another, in the order of their sequences. It keeps
// some 40 bytes for each message of the writers' current epochs, and one entry for each
// subject. Use it by one goroutine.
type Verifier struct {
	options Options
}

// New returns a Verifier that has seen nothing.
func New(o Options) *Verifier {
	return &Verifier{options: o}
}

// Add checks the next message. It returns its own fault (altered, a wrong or missing
// signature) if it has one; what follows from the order is in the [Report].
func (v *Verifier) Add(s registry.Stored) *Fault { return nil }

// AddAll adds all of a sequence, on all cores, until it ends or yields an error, which is
// returned; so is ctx's. Each (nil: nobody) is told after each message, in order.
func (v *Verifier) AddAll(ctx context.Context, messages iter.Seq2[registry.Stored, error], each func(registry.Stored)) error {
	return nil
}

// Report tells what was found so far. More may be added after it.
func (v *Verifier) Report() Report { return Report{} }

// VerifyAgainst verifies a whole history against checkpoints: it proves that what led to
// each message that they name was not rewritten since, as far as the history still reaches
// back and is intact. It is [New], [Verifier.AddAll] and [Verifier.Report].
func VerifyAgainst(ctx context.Context, o Options, messages iter.Seq2[registry.Stored, error]) (Report, error) {
	v := New(o)
	err := v.AddAll(ctx, messages, nil)
	return v.Report(), err
}
