package streamtest

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy stands between clients and one server, and can cut or hold what passes.
// Its methods may be called by several goroutines.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	change *sync.Cond // when one of them changed
	cut    bool
	closed bool
	hold   [2]bool // by direction
	conns  map[net.Conn]struct{}
}

// The directions of [Proxy.hold].
const (
	toServer = iota
	toClient
)

// NewProxy starts a proxy for the server at a nats:// URL or host:port. It ends
// with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{target: strings.TrimPrefix(target, "nats://"), listener: l, conns: map[net.Conn]struct{}{}}
	p.change = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Cut()
		l.Close() //nolint:errcheck // it was only listening
		p.wg.Wait()
	})
	return p
}

// URL is where clients connect.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Cut closes every connection, with what was held, and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.hold = true, [2]bool{}
	for c := range p.conns {
		c.Close() //nolint:errcheck // that it is closed is all that matters
	}
	clear(p.conns)
	p.change.Broadcast()
}

// Heal ends what the other methods began.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.hold = false, [2]bool{}
	p.change.Broadcast()
}

// HoldReplies keeps back what the server says, until Heal or Cut.
func (p *Proxy) HoldReplies() { p.holdBack(toClient) }

// Hold keeps back everything in both directions, without closing anything, until
// Heal or Cut: a black hole.
func (p *Proxy) Hold() { p.holdBack(toServer, toClient) }

func (p *Proxy) holdBack(directions ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range directions {
		p.hold[d] = true
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(client, server) {
			client.Close() //nolint:errcheck // refused
			if err == nil {
				server.Close() //nolint:errcheck // refused
			}
			continue
		}
		p.wg.Go(func() { p.pass(server, client, toServer) })
		p.wg.Go(func() { p.pass(client, server, toClient) })
	}
}

// keep registers a pair, unless nothing may pass.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.closed {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *Proxy) pass(to, from net.Conn, direction int) {
	defer to.Close()   //nolint:errcheck // the other side has ended
	defer from.Close() //nolint:errcheck
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.hold[direction] {
			p.change.Wait()
		}
		_, open := p.conns[from]
		p.mu.Unlock()
		if n > 0 && open {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil || !open {
			return
		}
	}
}
