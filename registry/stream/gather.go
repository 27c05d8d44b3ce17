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
	return &gathered{Conn: conn, span: g.span}, nil
}

// muchRead is how many bytes at once show that it is not for small messages, one by
// one, that the connection is read.
const muchRead = 8 << 10

// gathered is a connection on which small messages that come soon after one another
// are read together. Each read wakes all goroutines from here to the answers, and costs
// more than what it brings: a thousand messages a second, each by itself, need twice
// the processor time of five hundred pairs.
//
// What comes after a quiet time is read at once, and so is the next read's. Only while
// reads follow each other within span, each waits that long. One goroutine reads.
type gathered struct {
	net.Conn
	span  time.Duration
	busy  bool // the latest read did not have to wait for long
	pause *time.Timer
}

func (g *gathered) Read(b []byte) (int, error) {
	if g.busy {
		if g.pause == nil {
			g.pause = time.NewTimer(g.span)
		} else {
			g.pause.Reset(g.span)
		}
		<-g.pause.C
	}
	asked := time.Now()
	n, err := g.Conn.Read(b)
	g.busy = err == nil && n < muchRead && time.Since(asked) < g.span
	return n, err
}
