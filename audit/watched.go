package audit

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/seamark-mesh/seamark/registry"
)

// Progress is how far a long work has come.
type Progress struct {
	Read     int    // messages, so far
	Sequence uint64 // of the last one
}

// toldEvery is how many messages are read between two words about the progress.
const toldEvery = 2000

// Watched returns the same history, and calls f now and then (every 2,000 messages, and
// whenever a read ends) while it is read. f is called by whoever reads, perhaps by
// several goroutines at a time.
func Watched(h History, f func(Progress)) History { return &watched{History: h, tell: f} }

type watched struct {
	History
	tell func(Progress)
	read atomic.Int64
}

// Read implements [History].
func (w *watched) Read(ctx context.Context, r Range) iter.Seq2[registry.Stored, error] {
	return w.count(w.History.Read(ctx, r))
}

// Latest implements [History].
func (w *watched) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return w.count(w.History.Latest(ctx, before, filters...))
}

func (w *watched) count(messages iter.Seq2[registry.Stored, error]) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		last, told := uint64(0), false
		for m, err := range messages {
			if err == nil {
				last = m.Sequence
				if read := w.read.Add(1); read%toldEvery == 0 {
					told = true
					w.tell(Progress{int(read), last})
				} else {
					told = false
				}
			}
			if !yield(m, err) {
				return
			}
		}
		if last > 0 && !told {
			w.tell(Progress{int(w.read.Load()), last})
		}
	}
}
