package dnsserver

import (
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/batch"
)

// readerCounts is what one reader of the fast path counts. Each reader writes its own,
// so that counting costs no contention; they lie apart from each other in memory.
type readerCounts struct {
	_       [64]byte
	answers [16]atomic.Uint64 // by RCODE
	failed  atomic.Uint64
	cookies atomic.Uint64 // good ones
	_       [64]byte

	socket *batch.Socket // its own; nil over TCP
}

// Counts is what the fast path has done since the start, all readers together. What
// the complete path does is told to the [Observer], but for the good cookies.
type Counts struct {
	Answers map[Protocol]map[string]uint64 // by RCODE
	Failed  uint64                         // over UDP: of these, those that the system did not take
	Cookies map[Protocol]uint64            // queries with a good server cookie, on both paths

	// Lost counts packets over UDP that the system dropped before a reader took them, for
	// want of room in its receive buffers; nil where the system does not tell.
	Lost *uint64

	Names int // that have compiled answers
	Sets  int // of answers, each shared by all names that are answered alike
	Bytes int // of compiled answers
	Left  int // sets left to the complete path, because Bytes has come to its bound

	Compiled time.Duration // how long the latest update took
	Current  time.Time     // since when what is answered is current; zero before the first View
}

// Counts sums up. It does not disturb the readers; it asks the system once for each
// socket.
func (s *Server) Counts() Counts {
	table := s.table.Load()
	c := Counts{
		Answers: map[Protocol]map[string]uint64{UDP: {}, TCP: {}}, Names: table.Names(), Sets: table.Sets(), Bytes: table.Bytes(), Left: table.Left(),
		Compiled: time.Duration(s.compiled.took.Load()),
		Cookies:  map[Protocol]uint64{UDP: s.cookies.udp.Load(), TCP: s.cookies.tcp.Load() + s.stream.cookies.Load()},
	}
	if at := s.compiled.at.Load(); at != 0 {
		c.Current = time.Unix(0, at)
	}
	for _, r := range *s.counts.Load() {
		r.addTo(c.Answers[UDP])
		c.Failed += r.failed.Load()
		c.Cookies[UDP] += r.cookies.Load()
		if lost, ok := r.socket.Lost(); ok {
			if c.Lost == nil {
				c.Lost = new(uint64)
			}
			*c.Lost += uint64(lost)
		}
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

// goodCookies counts those of the complete path.
type goodCookies struct{ udp, tcp atomic.Uint64 }

func (g *goodCookies) add(protocol Protocol) {
	if protocol == UDP {
		g.udp.Add(1)
	} else {
		g.tcp.Add(1)
	}
}

// updates is what is counted of updates.
type updates struct {
	took atomic.Int64 // the latest one, nanoseconds
	at   atomic.Int64 // when it ended, Unix nanoseconds
}
