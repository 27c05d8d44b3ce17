package servers

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBuildHappensOnce(t *testing.T) {
	t.Setenv("SEAMARK_CACHE", t.TempDir())
	var builds atomic.Int32
	r := fakeRecipe(func(out string) error {
		builds.Add(1)
		return os.WriteFile(filepath.Join(out, "server"), nil, 0o755)
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := r.built(t.Context(), failureIsFresh)
			if err != nil {
				t.Error(err)
			}
			if !exists(filepath.Join(dir, "server")) {
				t.Errorf("%s is not whole", dir)
			}
		})
	}
	wg.Wait()
	if got := builds.Load(); got != 1 {
		t.Errorf("built %d times, want once", got)
	}
}

func TestFailedBuildIsRememberedForAWhile(t *testing.T) {
	t.Setenv("SEAMARK_CACHE", t.TempDir())
	broken := errors.New("the network is down")
	builds := 0
	r := fakeRecipe(func(string) error { builds++; return broken })
	for _, tt := range []struct {
		name       string
		believe    time.Duration
		wantBuilds int
	}{
		{"first", failureIsFresh, 1},
		{"soon after", failureIsFresh, 1},
		{"asked to insist", 0, 2},
	} {
		_, err := r.built(t.Context(), tt.believe)
		missing := new(UnavailableError)
		if !errors.As(err, &missing) || !strings.Contains(missing.Reason, broken.Error()) {
			t.Errorf("%s: the error is %v, want an UnavailableError that says %q", tt.name, err, broken)
		}
		if builds != tt.wantBuilds {
			t.Errorf("%s: built %d times by now, want %d", tt.name, builds, tt.wantBuilds)
		}
	}
	broken = nil
	if dir, err := r.built(t.Context(), 0); err != nil || !exists(dir) {
		t.Errorf("once the network is back: %q, %v", dir, err)
	}
}

func TestInterruptedBuildIsNoFailure(t *testing.T) {
	t.Setenv("SEAMARK_CACHE", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	r := fakeRecipe(func(string) error { cancel(); return ctx.Err() })
	_, err := r.built(ctx, failureIsFresh)
	if missing := new(UnavailableError); !errors.Is(err, context.Canceled) || errors.As(err, &missing) {
		t.Errorf("the error is %v, want only that it was canceled", err)
	}
	r = fakeRecipe(func(string) error { return nil })
	if _, err := r.built(t.Context(), failureIsFresh); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

func TestMissingProgramMakesUnavailable(t *testing.T) {
	r := fakeRecipe(func(string) error { return nil })
	r.programs = []string{"no-such-program"}
	_, err := r.built(t.Context(), failureIsFresh)
	missing := new(UnavailableError)
	if !errors.As(err, &missing) || !strings.Contains(missing.Reason, "no-such-program") || missing.Enable != r.enable {
		t.Errorf("the error is %#v, want an UnavailableError that names the program", err)
	}
}

func TestProgressTellsWhatAndHowLong(t *testing.T) {
	tests := map[string]struct {
		lasts time.Duration
		want  string
	}{
		"a moment": {500 * time.Millisecond, ""},
		"a while": {25 * time.Second, `seamark: lighthouse: building (1s)
seamark: lighthouse: building (11s)
seamark: lighthouse: building (21s)
seamark: lighthouse: built (25s)
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				p := newProgress(&out, "lighthouse")
				p.say("building")
				time.Sleep(tt.lasts)
				p.say("built")
				p.done()
				if got := out.String(); got != tt.want {
					t.Errorf("told %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func fakeRecipe(build func(out string) error) recipe {
	return recipe{
		name:   "lighthouse",
		enable: "light it",
		key:    func(context.Context, string) (string, error) { return "v1", nil },
		build:  func(_ context.Context, _, out string) error { return build(out) },
	}
}
