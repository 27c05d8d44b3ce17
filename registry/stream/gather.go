package stream

import (
	"net"
	"time"
)

// gatherer dials connections that are read less often while much comes.
type gatherer struct {
	net.Dialer
	span time.Duration
}

// Dial implements nats.CustomDialer.
func (g *gatherer) Dial(network, address string) (net.Conn, error) {
	conn, err := g.Dialer.Dial(network, address) //nolint:noctx // the interface has none; Dialer.Timeout bounds it
	if err != nil {
		return nil, err
	}
	return newGathered(conn, g.span), nil
}

const (
	muchRead  = 8 << 10 // bytes that come at once only when more than single messages are read
	freeReads = 32      // reads that never wait, after a quiet time
)

// gathered is a connection that is read at most once in a span, so that small messages
// which follow closely on one another are taken together. Each read wakes all
// goroutines from here to the answers, which costs about as much as what it brings.
//
// Only who reads more often than that for a while waits: after a quiet time there are
// freeReads reads to begin with, and those that bring much are not counted. One
// goroutine reads.
type gathered struct {
	net.Conn
	span   time.Duration
	paid   time.Time // up to when reads are accounted for; at most freeReads spans ago
	pauses *time.Timer
}

func newGathered(conn net.Conn, span time.Duration) *gathered {
	pauses := time.NewTimer(0)
	<-pauses.C
	return &gathered{Conn: conn, span: span, pauses: pauses}
}

func (g *gathered) Read(b []byte) (int, error) {
	if ahead := time.Until(g.paid); ahead > 0 {
		g.pauses.Reset(ahead)
		<-g.pauses.C
	}
	n, err := g.Conn.Read(b)
	if n < muchRead {
		now := time.Now()
		if earliest := now.Add(-freeReads * g.span); g.paid.Before(earliest) {
			g.paid = earliest
		}
		g.paid = g.paid.Add(g.span)
	}
	return n, err
}
