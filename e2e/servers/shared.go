package servers

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
)

// Server is what [Shared] needs of a server: *ConsulServer, *NacosServer and *NATSServer are ones.
type Server interface {
	Kill() error
	LogTail() string
	String() string
}

// Shared is one server for all tests of a package. It starts when the first test asks for it, so a run of other tests
// does not pay for it. Tests may ask from several goroutines.
//
//	var nacos = servers.Share(servers.StartNacos, servers.NacosConfig{})
//
//	func TestMain(m *testing.M) {
//		code := m.Run()
//		if err := nacos.Close(); err != nil { … }
//		os.Exit(code)
//	}
//
//	func TestWatch(t *testing.T) { server := nacos.For(t); … }
//
// A test that kills or pauses a shared server starts it again before it ends.
type Shared[S Server] struct {
	start func(ctx context.Context, dir string) (S, error)

	mu     sync.Mutex // guards following
	asked  bool
	dir    string
	server S
	err    error
}

// Share returns a server that start, one of [StartConsul], [StartNacos] and [StartNATS], will start with config.
func Share[S Server, C any](start func(context.Context, string, C) (S, error), config C) *Shared[S] {
	return &Shared[S]{start: func(ctx context.Context, dir string) (S, error) { return start(ctx, dir, config) }}
}

// For returns the server, running. Where it cannot be had the test ends as [Need] says. If the test fails, the end of
// the server's log is shown with it.
func (s *Shared[S]) For(tb testing.TB) S {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked {
		s.asked = true
		if s.dir, s.err = os.MkdirTemp("", "seamark-server-"); s.err == nil {
			s.server, s.err = s.start(tb.Context(), s.dir)
		}
	}
	if s.err != nil {
		giveUp(tb, s.err)
	}
	showLogOnFailure(tb, s.server)
	return s.server
}

// Close ends the server, if it was started, and removes its data. It reports a server that had ended by itself.
func (s *Shared[S]) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked {
		return nil
	}
	var err error
	if s.err == nil {
		err = s.server.Kill()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// forTest starts a server that lives as long as the test.
func forTest[S Server, C any](tb testing.TB, start func(context.Context, string, C) (S, error), config C) S {
	tb.Helper()
	server, err := start(tb.Context(), tb.TempDir(), config)
	if err != nil {
		giveUp(tb, err)
	}
	tb.Cleanup(func() {
		if err := server.Kill(); err != nil {
			tb.Error(err)
		}
	})
	showLogOnFailure(tb, server)
	return server
}

func showLogOnFailure(tb testing.TB, server Server) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the log of the %v:\n%s", server, server.LogTail())
		}
	})
}
