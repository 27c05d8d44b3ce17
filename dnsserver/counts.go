package dnsserver

import (
	"sync/atomic"
)

// readerCounts is what one reader of the fast path counts. Each reader writes its own,
// so that counting costs no contention; they lie apart from each other in memory.
type readerCounts struct {
	_       [64]byte
	answers [16]atomic.Uint64 // by RCODE
	failed  atomic.Uint64
	_       [64]byte
}

// Counts is what the fast path has done since the start, all readers together. What
// the complete path does is told to the [Observer].
type Counts struct {
	Answers map[string]uint64 // by RCODE; all over UDP
	Failed  uint64            // of these, those that the system did not take

	Names int // that have compiled answers
	Sets  int // of answers, each shared by all names that are answered alike
	Bytes int // of compiled answers
}

// Counts sums up. It does not disturb the readers.
func (s *Server) Counts() Counts {
	table := s.table.Load()
	c := Counts{Answers: map[string]uint64{}, Names: table.Names(), Sets: table.Sets(), Bytes: table.Bytes()}
	for _, r := range *s.counts.Load() {
		for rcode := range r.answers {
			if n := r.answers[rcode].Load(); n > 0 {
				c.Answers[rcodeText(rcode)] += n
			}
		}
		c.Failed += r.failed.Load()
	}
	return c
}
