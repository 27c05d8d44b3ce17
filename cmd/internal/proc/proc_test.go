package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("SEAMARK_TEST_SIGNALS") != "" {
		signalled()
		return
	}
	goleak.VerifyTestMain(m)
}

var errOver = errors.New("the test is over")

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// begin runs f until the returned function is called, which gives f's error.
func begin(t *testing.T, f func(ctx context.Context) error) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	result := make(chan error, 1)
	go func() { result <- f(ctx) }()
	once := sync.OnceValue(func() error {
		cancel(errOver)
		select {
		case err := <-result:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("it did not end")
		}
	})
	t.Cleanup(func() { _ = once() })
	return once
}

func TestRun(t *testing.T) {
	broken := errors.New("broken")
	waits := Part{"waits", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}
	t.Run("a part fails", func(t *testing.T) {
		err := Run(t.Context(), quietLogger(), time.Minute, waits, Part{"bad", func(context.Context) error { return broken }}, waits)
		if !errors.Is(err, broken) || err.Error() != "bad: broken" {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("a part ends by itself", func(t *testing.T) {
		err := Run(t.Context(), quietLogger(), time.Minute, waits, Part{"early", func(context.Context) error { return nil }})
		if err == nil || !strings.HasPrefix(err.Error(), "early: ended") {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(SignalError{syscall.SIGTERM})
		silent := Part{"silent", func(ctx context.Context) error { <-ctx.Done(); return nil }}
		wraps := Part{"wraps", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("reading: %w", ctx.Err()) }}
		if err := Run(ctx, quietLogger(), time.Minute, waits, silent, wraps); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("a part fails while stopping", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := Run(ctx, quietLogger(), time.Minute, Part{"bad", func(ctx context.Context) error { <-ctx.Done(); return broken }})
		if !errors.Is(err, broken) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("a part is stuck", func(t *testing.T) {
		release := make(chan struct{})
		var ended sync.WaitGroup
		ended.Add(1)
		stuck := Part{"stuck", func(context.Context) error { defer ended.Done(); <-release; return nil }}
		err := Run(t.Context(), quietLogger(), 50*time.Millisecond, waits, stuck, Part{"bad", func(context.Context) error { return broken }})
		if !errors.Is(err, ErrStuck) || !errors.Is(err, broken) || !strings.Contains(err.Error(), "stuck: did not stop in time") {
			t.Errorf("Run: %v", err)
		}
		close(release)
		ended.Wait()
	})
}

// signalled is the process that TestSignals runs.
func signalled() {
	ctx, stop := Signals(context.Background())
	defer stop()
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	if os.Getenv("SEAMARK_TEST_SIGNALS") == "twice" {
		select {} // as a daemon that does not end
	}
}

func TestSignals(t *testing.T) {
	for _, mode := range []string{"once", "twice"} {
		t.Run(mode, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "SEAMARK_TEST_SIGNALS="+mode)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, 256)
			read := func(want string) {
				t.Helper()
				if n, err := out.Read(buffer); err != nil || string(buffer[:n]) != want {
					t.Fatalf("got %q, %v, want %q", buffer[:n], err, want)
				}
			}
			read("ready\n")
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			read("received signal \"terminated\"\n")
			if mode == "twice" {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				err := cmd.Wait()
				if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGTERM {
					t.Errorf("the second signal ended the process with %v", err)
				}
				return
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Process{Input: Input{Path: path}, Logger: quietLogger(), hangup: make(chan os.Signal, 1)}
	why := make(chan string, 100)
	end := begin(t, func(ctx context.Context) error {
		return p.Reloads(ctx, func(s string) { why <- s })
	})
	next := func(want string) {
		t.Helper()
		select {
		case got := <-why:
			if got != want {
				t.Errorf("reload because of %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no reload because of %q", want)
		}
	}
	next("file") // at the start
	p.hangup <- syscall.SIGHUP
	next("SIGHUP")
	for n := range 5 { // half-written five times: one reload
		if err := os.WriteFile(path, bytes.Repeat([]byte("b"), n+2), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(written / 5)
	}
	next("file")
	select {
	case got := <-why:
		t.Errorf("one more reload because of %q", got)
	case <-time.After(2 * written):
	}
	if err := end(); !errors.Is(err, errOver) {
		t.Errorf("Reloads returned %v", err)
	}
	p.Path = ""
	end = begin(t, func(ctx context.Context) error {
		return p.Reloads(ctx, func(s string) { why <- s })
	})
	p.hangup <- syscall.SIGHUP
	next("SIGHUP")
	if err := end(); !errors.Is(err, errOver) {
		t.Errorf("Reloads returned %v", err)
	}
}

func TestLogger(t *testing.T) {
	for name, tt := range map[string]struct {
		options LogOptions
		want    string // of the line, or of the error
	}{
		"text":   {LogOptions{"info", "text"}, "level=INFO msg=hello"},
		"json":   {LogOptions{"info", "json"}, `"level":"INFO","msg":"hello"`},
		"auto":   {LogOptions{"debug", "auto"}, `"level":"INFO","msg":"hello"`},
		"quiet":  {LogOptions{"warn", "text"}, ""},
		"level":  {LogOptions{"loud", "text"}, `log level "loud" is none of debug, info, warn, error`},
		"format": {LogOptions{"info", "xml"}, `log format "xml" is none of auto, text, json`},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			logger, err := NewLogger(&b, tt.options)
			if err != nil {
				if err.Error() != tt.want {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			logger.Info("hello")
			if !strings.Contains(b.String(), tt.want) || (tt.want == "") != (b.Len() == 0) {
				t.Errorf("got %q, want %q", b.String(), tt.want)
			}
		})
	}
}

func TestMetricsAreValid(t *testing.T) {
	families, err := NewMetrics("test").Gather()
	if err != nil || len(families) == 0 {
		t.Errorf("%d families, %v", len(families), err)
	}
	var _ prometheus.Gatherer = NewMetrics("test")
}
