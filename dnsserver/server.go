package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Views hands out the current View. View is called once per query by any number
// of goroutines; it never blocks and never returns nil. [registry.Store] is one.
type Views interface {
	View() *registry.View
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

	started   atomic.Bool
	listening chan struct{} // closed when addresses is set
	addresses []netip.AddrPort
	panicked  atomic.Int64 // when the last panic was logged, Unix seconds
	buffers   sync.Pool    // of *answerer, for TCP
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
		turn: rand.Uint32, listening: make(chan struct{}),
	}
	s.settings.Store(&config.Settings)
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
	sockets, err := listenAll(ctx, s.config.Listen)
	if err != nil {
		return err
	}
	for _, k := range sockets {
		s.addresses = append(s.addresses, k.address)
	}
	close(s.listening)
	s.log.Info("dns listening", "addresses", s.addresses)

	connections := newConnections()
	var wg sync.WaitGroup
	for _, k := range sockets {
		for range s.config.Readers {
			wg.Go(func() { s.serveUDP(ctx, k) })
		}
		wg.Go(func() { s.serveTCP(ctx, k.tcp, connections) })
	}
	wg.Go(func() { s.tellSecondaries(ctx) })
	<-ctx.Done()
	past := time.Unix(1, 0)
	for _, k := range sockets {
		// Wakes the readers; what they have read they still answer.
		_ = k.udp.SetReadDeadline(past)
		_ = k.udp.SetWriteDeadline(time.Now().Add(s.settings.Load().WriteTimeout))
		_ = k.tcp.Close()
	}
	wg.Wait()
	for _, k := range sockets {
		_ = k.udp.Close()
	}
	s.log.Info("dns stopped")
	return nil
}

// socket is one address that is listened on.
type socket struct {
	address  netip.AddrPort
	wildcard bool // replies must be told which address to come from
	udp      *net.UDPConn
	tcp      *net.TCPListener
}

func listenAll(ctx context.Context, addresses []string) (sockets []socket, err error) {
	defer func() {
		if err != nil {
			for _, k := range sockets {
				_ = k.udp.Close()
				_ = k.tcp.Close()
			}
		}
	}()
	for _, address := range addresses {
		k, err := listen(ctx, address)
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

// listen opens both protocols on one port. Where the system chooses the port, it
// chooses for UDP, and TCP may find it taken: then another one is tried.
func listen(ctx context.Context, address string) (socket, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return socket{}, err
	}
	const tries = 16
	for n := 1; ; n++ {
		k, err := listenOnce(ctx, host, port)
		if err == nil || port != "0" || n == tries {
			return k, err
		}
	}
}

func listenOnce(ctx context.Context, host, port string) (socket, error) {
	literal, _ := netip.ParseAddr(host)
	k := socket{wildcard: host == "" || literal.IsUnspecified()}
	config := net.ListenConfig{}
	if k.wildcard {
		config.Control = askForDestination
	}
	udp, err := config.ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
	if err != nil {
		return socket{}, fmt.Errorf("dnsserver: %w", err)
	}
	k.udp = udp.(*net.UDPConn)
	k.address = k.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	k.address = netip.AddrPortFrom(k.address.Addr().Unmap(), k.address.Port())
	_ = k.udp.SetReadBuffer(receiveBuffer) // the system may grant less
	config.Control = nil
	tcp, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, fmt.Sprint(k.address.Port())))
	if err != nil {
		_ = k.udp.Close()
		return socket{}, fmt.Errorf("dnsserver: %w", err)
	}
	k.tcp = tcp.(*net.TCPListener)
	return k, nil
}

// receiveBuffer lets a burst wait in the kernel while the readers are busy.
const receiveBuffer = 4 << 20
