package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/batch"
	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// Views hands out the current View, and tells of each next one. [registry.Store] is one.
type Views interface {
	// View never blocks and never returns nil.
	View() *registry.View
	// Watch returns what one goroutine is told of all later Views with.
	Watch() *registry.Watcher
}

// Server is an authoritative DNS server. Make one with [New]; its methods may be
// called from any goroutine.
type Server struct {
	config   Config
	settings atomic.Pointer[Settings]
	views    Views
	observer Observer
	log      *slog.Logger
	turn     func() uint32 // by how much the next address RRset is rotated
	lookup   func(*registry.View, lookup.Question) lookup.Response
	compile  func(*compile.Compiler, *registry.View, registry.Delta) *compile.Table

	table    atomic.Pointer[compile.Table] // what everything is answered from
	counts   atomic.Pointer[[]*readerCounts]
	stream   readerCounts // of the fast path over TCP
	cookies  goodCookies  // of the complete path
	compiled updates
	logged   rationed       // lines of the query log
	clock    atomic.Uint32  // Unix seconds, for cookies; read by the fast path
	queue    chan *handover // to the complete path
	idle     chan *handover // free to be filled

	started   atomic.Bool
	listening chan struct{} // closed when addresses is set
	addresses []netip.AddrPort
	panicked  seldom        // logged
	cut       seldom        // likewise: an answer that is sent in part
	elaborate chan struct{} // a place for each answer that is made for TCP at the same time
	beside    chan struct{} // a place for each answer over TCP that the next ones need not wait for
	buffers   sync.Pool     // of *answerer, for TCP
	transfers transfers
}

// New checks the configuration. It opens nothing; [Server.Run] does.
func New(config Config, views Views, observer Observer, log *slog.Logger) (*Server, error) {
	config, err := config.checked()
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: config, views: views, observer: observer, log: log,
		turn: rand.Uint32, lookup: lookup.Answer, compile: (*compile.Compiler).Update, listening: make(chan struct{}),
		elaborate: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), beside: make(chan struct{}, maxBeside),
		queue: make(chan *handover, queueLength), idle: make(chan *handover, queueLength),
	}
	for range queueLength {
		s.idle <- &handover{}
	}
	s.settings.Store(&config.Settings)
	s.table.Store(compile.Complete(views.View()))
	s.counts.Store(&[]*readerCounts{})
	s.transfers.reloaded = make(chan struct{}, 1)
	return s, nil
}

// Reload replaces the settings. Queries and connections that there are go on, and
// nothing is dropped; what is read afterwards sees the new ones. It fails, and
// changes nothing, when a setting is not valid.
func (s *Server) Reload(settings Settings) error {
	settings, err := settings.checked()
	if err != nil {
		return err
	}
	s.settings.Store(&settings)
	s.transfers.reload()
	return nil
}

// Listening is closed once every address is listened on.
func (s *Server) Listening() <-chan struct{} { return s.listening }

// Addresses returns where the server listens, one for each entry of Config.Listen
// and in that order, with the ports that the system chose. It returns nil before
// [Server.Listening] is closed.
func (s *Server) Addresses() []netip.AddrPort {
	select {
	case <-s.listening:
		return s.addresses
	default:
		return nil
	}
}

// Run listens on every address and serves until ctx ends, then returns nil once
// everything has ended. It fails when an address can't be listened on. It runs
// once.
func (s *Server) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return errors.New("dnsserver: has run before")
	}
	sockets, err := listenAll(ctx, s.config.Listen, s.config.Readers)
	if err != nil {
		return err
	}
	for _, k := range sockets {
		s.addresses = append(s.addresses, k.address)
	}
	close(s.listening)
	s.log.Info("dns listening", "addresses", s.addresses)
	s.noteReceiveBuffer(sockets[0].udp[0])

	var readers, rest, workers sync.WaitGroup
	s.clock.Store(unixNow())
	rest.Go(func() { s.tick(ctx) })
	rest.Go(func() { s.follow(ctx, compile.NewCompiler()) })
	for range s.config.Readers {
		workers.Go(s.serveQueue)
	}
	connections := newConnections()
	var counts []*readerCounts
	for _, k := range sockets {
		for _, udp := range k.udp {
			own := &readerCounts{socket: udp}
			counts = append(counts, own)
			readers.Go(func() { s.serveUDP(ctx, udp, own) })
		}
		rest.Go(func() { s.serveTCP(ctx, k.tcp, connections) })
	}
	s.counts.Store(&counts)
	rest.Go(func() { s.tellSecondaries(ctx) })
	<-ctx.Done()
	past := time.Unix(1, 0)
	for _, k := range sockets {
		for _, udp := range k.udp {
			// Wakes the readers; what they have read they still answer.
			_ = udp.Conn().SetReadDeadline(past)
			_ = udp.Conn().SetWriteDeadline(time.Now().Add(s.settings.Load().WriteTimeout))
		}
		_ = k.tcp.Close()
	}
	readers.Wait()
	close(s.queue)
	workers.Wait()
	rest.Wait()
	for _, k := range sockets {
		k.closeUDP()
	}
	s.log.Info("dns stopped")
	return nil
}

// noteReceiveBuffer logs how long a burst may wait in a socket, when that is less than
// was asked for.
func (s *Server) noteReceiveBuffer(udp *batch.Socket) {
	if granted, ok := udp.ReceiveBuffer(); ok && granted < batch.ReceiveBuffer {
		s.log.Info("the system grants the DNS sockets less room for packets that wait than was asked for: a burst may be dropped",
			"bytes", granted, "asked", batch.ReceiveBuffer, "raise", fmt.Sprintf("sysctl -w net.core.rmem_max=%d", batch.ReceiveBuffer))
	}
}

// socket is one address that is listened on.
type socket struct {
	address netip.AddrPort
	udp     []*batch.Socket // each with its reader
	tcp     *net.TCPListener
}

func (k socket) closeUDP() {
	for _, udp := range k.udp {
		_ = udp.Conn().Close()
	}
}

func listenAll(ctx context.Context, addresses []string, readers int) (sockets []socket, err error) {
	defer func() {
		if err != nil {
			for _, k := range sockets {
				k.closeUDP()
				_ = k.tcp.Close()
			}
		}
	}()
	for _, address := range addresses {
		k, err := listen(ctx, address, readers)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, k)
	}
	return sockets, nil
}

// splitAddress accepts an IP literal or nothing in front of the port.
func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("dnsserver: %q is no address to listen on: %w", address, err)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", "", fmt.Errorf("dnsserver: %q: an IP address is needed, not a name", address)
		}
	}
	if _, err := netip.ParseAddrPort(net.JoinHostPort("::", port)); err != nil {
		return "", "", fmt.Errorf("dnsserver: %q: the port must be a number within 0 and 65535", address)
	}
	return host, port, nil
}

// listen opens both protocols on one port. TCP comes first where the port is given: it
// has the port alone, so a second server is refused before its UDP sockets, which share
// the port, take away any packet. Where the system chooses the port, it chooses for UDP,
// and TCP may find it taken: then another one is tried.
func listen(ctx context.Context, address string, readers int) (socket, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return socket{}, err
	}
	if port != "0" {
		tcp, err := listenTCP(ctx, host, port)
		if err != nil {
			return socket{}, err
		}
		udp, err := batch.Listen(ctx, net.JoinHostPort(host, port), readers)
		if err != nil {
			_ = tcp.Close()
			return socket{}, fmt.Errorf("dnsserver: %w", err)
		}
		return socket{address: udp[0].Address(), udp: udp, tcp: tcp}, nil
	}
	const tries = 16
	for n := 1; ; n++ {
		udp, err := batch.Listen(ctx, net.JoinHostPort(host, port), readers)
		if err != nil {
			return socket{}, fmt.Errorf("dnsserver: %w", err)
		}
		k := socket{address: udp[0].Address(), udp: udp}
		if k.tcp, err = listenTCP(ctx, host, fmt.Sprint(k.address.Port())); err == nil {
			return k, nil
		}
		k.closeUDP()
		if n == tries {
			return socket{}, err
		}
	}
}

func listenTCP(ctx context.Context, host, port string) (*net.TCPListener, error) {
	config := net.ListenConfig{}
	tcp, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("dnsserver: %w", err)
	}
	return tcp.(*net.TCPListener), nil
}
