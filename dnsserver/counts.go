package dnsserver

import (
	"sync/atomic"
	"time"
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
	Answers map[Protocol]map[string]uint64 // by RCODE
	Failed  uint64                         // over UDP: of these, those that the system did not take

	Names int // that have compiled answers
	Sets  int // of answers, each shared by all names that are answered alike
	Bytes int // of compiled answers
	Left  int // sets left to the complete path, because Bytes has come to its bound

	Compiled time.Duration // how long the latest update took
	Current  time.Time     // since when what is answered is current; zero before the first View
}

// Counts sums up. It does not disturb the readers.
func (s *Server) Counts() Counts {
	table := s.table.Load()
	c := Counts{
		Answers: map[Protocol]map[string]uint64{UDP: {}, TCP: {}}, Names: table.Names(), Sets: table.Sets(), Bytes: table.Bytes(), Left: table.Left(),
		Compiled: time.Duration(s.compiled.took.Load()),
	}
	if at := s.compiled.at.Load(); at != 0 {
		c.Current = time.Unix(0, at)
	}
	for _, r := range *s.counts.Load() {
		r.addTo(c.Answers[UDP])
		c.Failed += r.failed.Load()
	}
	s.stream.addTo(c.Answers[TCP])
	return c
}

func (r *readerCounts) addTo(answers map[string]uint64) {
	for rcode := range r.answers {
		if n := r.answers[rcode].Load(); n > 0 {
			answers[rcodeText(rcode)] += n
		}
	}
}

// updates is what is counted of updates.
type updates struct {
	took atomic.Int64 // the latest one, nanoseconds
	at   atomic.Int64 // when it ended, Unix nanoseconds
}
