package streamtest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// readyTimeout bounds the start of a server.
const readyTimeout = 20 * time.Second

// Start runs a NATS server with JetStream in a folder of the test's own, on
// 127.0.0.1 at a free port. It ends with the test.
func Start(tb testing.TB) *server.Server {
	tb.Helper()
	return StartWith(tb, nil)
}

// StartWith is [Start] with a change to the server's options; nil changes nothing.
func StartWith(tb testing.TB, change func(*server.Options)) *server.Server {
	tb.Helper()
	options := &server.Options{
		ServerName: "nats-test", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: tb.TempDir(), NoSigs: true, NoLog: true,
	}
	if change != nil {
		change(options)
	}
	return run(tb, options)
}

// Restart stops a server and starts it again on the same port and folder. The
// stop is an orderly one.
func Restart(tb testing.TB, s *server.Server) *server.Server {
	tb.Helper()
	return StartAgain(tb, Stop(tb, s))
}

// Stopped is how to start a server again; see [Stop].
type Stopped struct{ options *server.Options }

// Dir is where the stopped server keeps its streams.
func (s Stopped) Dir() string { return s.options.StoreDir }

// Stop stops a server in good order and keeps its port and folder.
func Stop(tb testing.TB, s *server.Server) Stopped {
	tb.Helper()
	options := &server.Options{
		ServerName: s.Name(), Host: "127.0.0.1", Port: s.Addr().(*net.TCPAddr).Port,
		JetStream: true, StoreDir: s.StoreDir(), NoSigs: true, NoLog: true,
	}
	if at := s.ClusterAddr(); at != nil { // the others look for it there; a cluster must name a route, if only to itself
		options.Cluster = server.ClusterOpts{Name: s.ClusterName(), Host: "127.0.0.1", Port: at.Port}
		options.Routes = []*url.URL{{Scheme: "nats-route", Host: at.String()}}
	}
	s.Shutdown()
	s.WaitForShutdown()
	return Stopped{options}
}

// StartAgain starts a stopped server where it was.
func StartAgain(tb testing.TB, s Stopped) *server.Server {
	tb.Helper()
	return run(tb, s.options)
}

func run(tb testing.TB, options *server.Options) *server.Server {
	tb.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		tb.Fatalf("nats server: %v", err)
	}
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	go s.Start()
	if !s.ReadyForConnections(readyTimeout) {
		tb.Fatalf("nats server on port %d was not ready after %v", options.Port, readyTimeout)
	}
	return s
}

// Cluster runs n servers that form one JetStream cluster, and returns when it
// can place a stream with n replicas.
func Cluster(tb testing.TB, n int) []*server.Server {
	tb.Helper()
	listeners := make([]net.Listener, n) // held until all ports are known, so that they differ
	var routes []*url.URL
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		listeners[i] = l
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: l.Addr().String()})
	}
	servers := make([]*server.Server, n)
	for i, l := range listeners {
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		options := &server.Options{
			ServerName: fmt.Sprintf("nats-test-%d", i+1), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			JetStream: true, StoreDir: tb.TempDir(), NoSigs: true, NoLog: true, Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		}
		s, err := server.NewServer(options)
		if err != nil {
			tb.Fatalf("nats server: %v", err)
		}
		tb.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		go s.Start()
		servers[i] = s
	}
	for _, s := range servers {
		if !s.ReadyForConnections(readyTimeout) {
			tb.Fatalf("nats server %s was not ready after %v", s.Name(), readyTimeout)
		}
	}
	Eventually(tb, readyTimeout, "the cluster has a leader and all its peers", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == n
			}
		}
		return false
	})
	return servers
}

// Connect opens a connection to the servers, which ends with the test.
func Connect(tb testing.TB, servers ...*server.Server) *stream.Conn {
	tb.Helper()
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	return ConnectTo(tb, urls...)
}

// ConnectTo opens a connection to these URLs, which ends with the test.
func ConnectTo(tb testing.TB, urls ...string) *stream.Conn {
	tb.Helper()
	ctx, stop := context.WithTimeout(tb.Context(), readyTimeout)
	defer stop()
	c, err := stream.Connect(ctx, stream.ConnectConfig{Servers: urls, Name: tb.Name(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// JetStream is the whole of JetStream on a connection, of which [stream.Conn] lets its users have a part.
func JetStream(tb testing.TB, c *stream.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(c.NATS())
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// Streams starts a server, connects, and creates both streams.
func Streams(tb testing.TB) (*server.Server, *stream.Conn) {
	tb.Helper()
	s := Start(tb)
	c := Connect(tb, s)
	Create(tb, c, 1)
	return s, c
}

// Create creates both streams with so many replicas. A cluster that has just been
// started may need more than one call, as it may for the daemons.
func Create(tb testing.TB, c *stream.Conn, replicas int) {
	tb.Helper()
	var differences []stream.Difference
	var err error
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, differences, err = c.CreateStreams(tb.Context(), stream.Settings{Replicas: replicas, HistoryAge: 30 * 24 * time.Hour})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			tb.Fatal(err)
		}
	}
	for _, d := range differences {
		tb.Fatal(d)
	}
}

// Eventually waits until the condition holds, and fails the test when it does not
// within the time.
func Eventually(tb testing.TB, within time.Duration, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(within); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", within, what)
		}
	}
}
