package dnsserver

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/batch"
	"github.com/seamark-mesh/seamark/dnsserver/compile"
)

// serveUDP answers one socket until ctx ends, on this goroutine: handing a query to
// another one would cost more than its answer. What the fast path does not know goes
// to the queue of the complete path; when that is full, it is dropped before any work.
func (s *Server) serveUDP(ctx context.Context, k *batch.Socket, counts *readerCounts) {
	terms := compile.Terms{Turn: rand.Uint32() | 1, Sender: k}
	for {
		n, err := k.Receive()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.observer.Dropped(UDP, DropRead)
			if !wait(ctx, readPause) {
				return
			}
			continue
		}
		s.answerBatch(k, n, &terms, counts)
	}
}

// answerBatch answers what was received. Should the fast path ever panic, that costs
// the answers of one batch.
func (s *Server) answerBatch(k *batch.Socket, n int, terms *compile.Terms, counts *readerCounts) {
	i := 0
	defer func() {
		if cause := recover(); cause != nil {
			s.notePanic(UDP, "dns answer", k.Packet(i), cause)
		}
	}()
	table := s.table.Load()
	settings := s.settings.Load()
	terms.Payload, terms.Cookies, terms.Require = settings.UDPPayload, settings.Cookies, settings.RequireCookies
	terms.Now = s.clock.Load()
	logging := settings.QueryLog.On()
	for ; i < n; i++ {
		query := k.Packet(i)
		terms.Turn = nextTurn(terms.Turn)
		terms.Index = i
		length, rcode := table.Reply(k.Buffer(), query, terms)
		if length == 0 {
			s.hand(k, i, query)
			continue
		}
		k.Reply(i, length)
		counts.answers[rcode].Add(1)
		if terms.GoodCookie {
			counts.cookies.Add(1)
		}
		if logging {
			s.logQuery(&settings.QueryLog, query, answered{UDP, "fast", k.From(i).Addr(), rcode, length, table.View().Serial()})
		}
	}
	if failed := k.Flush(); failed > 0 {
		counts.failed.Add(uint64(failed))
	}
}

// nextTurn returns the next number of a sequence without pattern (Marsaglia's xorshift);
// it is never 0, nor may turn be. Counting would keep step with clients that ask for A
// and AAAA by turns: each of the two would always begin with the same address.
func nextTurn(turn uint32) uint32 {
	turn ^= turn << 13
	turn ^= turn >> 17
	return turn ^ turn<<5
}

// readPause keeps a socket that only fails from taking a whole processor.
const readPause = 10 * time.Millisecond

// handover is one query on its way to the complete path.
type handover struct {
	conn    *net.UDPConn
	from    netip.AddrPort
	query   []byte
	control []byte // what goes beside the reply
}

// queueLength bounds the queries that wait for the complete path; maxKeptQuery, how
// much memory each place in the queue keeps for the next one.
const (
	queueLength  = 1024
	maxKeptQuery = 4 << 10
)

// hand passes a query on to the complete path, or drops it.
func (s *Server) hand(k *batch.Socket, i int, query []byte) {
	from := k.From(i)
	if from.Port() == 0 {
		s.observer.Dropped(UDP, DropPort)
		return
	}
	var h *handover
	select {
	case h = <-s.idle:
	default:
		s.observer.Dropped(UDP, DropOverload)
		return
	}
	h.conn, h.from = k.Conn(), from
	h.query = append(h.query[:0], query...)
	h.control = append(h.control[:0], k.Control(i)...)
	s.queue <- h // never waits: there are as many places as handovers
}

// serveQueue answers what the fast path has handed over, until the queue is closed.
func (s *Server) serveQueue() {
	a := s.newAnswerer(UDP)
	for h := range s.queue {
		start := time.Now()
		if r, ok := a.answer(h.query, h.from.Addr()); ok {
			if err := writeUDP(h.conn, r.message, h.control, h.from); err != nil {
				s.observer.Dropped(UDP, DropWrite)
			} else {
				s.observer.Answered(UDP, rcodeText(r.rcode), time.Since(start))
				if l := &s.settings.Load().QueryLog; l.On() {
					s.logQuery(l, h.query, answered{UDP, "complete", h.from.Addr(), r.rcode, len(r.message), s.serial()})
				}
			}
		}
		if cap(h.query) > maxKeptQuery {
			h.query = nil
		}
		s.idle <- h
	}
}

func writeUDP(conn *net.UDPConn, message, control []byte, to netip.AddrPort) error {
	if len(control) == 0 {
		_, err := conn.WriteToUDPAddrPort(message, to)
		return err
	}
	_, _, err := conn.WriteMsgUDPAddrPort(message, control, to)
	return err
}

// wait returns true after d, and false at once when ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
