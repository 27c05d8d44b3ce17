package file_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/file"
)

var errOver = errors.New("the test is over")

// observer runs one Watch and keeps what it says.
type observer struct {
	source *file.Source
	log    *lines
	events chan registry.Snapshot
	done   chan error
	cancel context.CancelCauseFunc

	mu       sync.Mutex // guards the field below
	refusals []string
}

func newSource(t *testing.T, path string) *observer {
	t.Helper()
	o := &observer{log: &lines{}, events: make(chan registry.Snapshot, 100), done: make(chan error, 1)}
	var err error
	o.source, err = file.New(file.Config{Path: path, Logger: slog.New(slog.NewTextHandler(o.log, nil)), Refused: o.refused})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func watch(t *testing.T, path string) *observer {
	t.Helper()
	o := newSource(t, path)
	ctx, cancel := context.WithCancelCause(t.Context())
	o.cancel = cancel
	var wg sync.WaitGroup
	wg.Go(func() { o.done <- o.source.Watch(ctx, func(s registry.Snapshot) { o.events <- s }) })
	t.Cleanup(func() {
		cancel(errOver)
		wg.Wait()
	})
	return o
}

func (o *observer) refused(r *registry.Refusal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refusals = append(o.refusals, r.Reason+": "+r.Detail)
}

func (o *observer) told() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.refusals)
}

// next waits for the next snapshot and returns the ids of the one service.
func (o *observer) next(t *testing.T) []string {
	t.Helper()
	select {
	case s := <-o.events:
		return ids(s)
	case err := <-o.done:
		t.Fatalf("Watch ended: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("no snapshot within 10 s")
	}
	return nil
}

func (o *observer) sees(t *testing.T, want ...string) {
	t.Helper()
	if got := o.next(t); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// silent fails when a snapshot comes, or Watch ends, within d.
func (o *observer) silent(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case s := <-o.events:
		t.Fatalf("got %v, want nothing", ids(s))
	case err := <-o.done:
		t.Fatalf("Watch ended: %v", err)
	case <-time.After(d):
	}
}

// until waits for a condition that a callback brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func ids(s registry.Snapshot) []string {
	var all []string
	for service := range s.Services() {
		for _, i := range service.Instances {
			all = append(all, service.Key.Name+"/"+i.ID)
		}
	}
	slices.Sort(all)
	return all
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards the field below
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// one is a catalog of service s with these instance ids.
func one(ids ...string) []byte {
	text := "services:\n- name: s\n  instances:\n"
	if len(ids) == 0 {
		text = "services:\n- name: s\n  instances: []\n"
	}
	for _, id := range ids {
		text += "  - {id: " + id + ", address: 192.0.2.1, port: 80}\n"
	}
	return []byte(text)
}

func TestWatchAcrossRename(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	inPlace(t, path, one("a"))
	o := watch(t, path)
	o.sees(t, "s/a")
	byRename(t, path, one("a", "b"))
	o.sees(t, "s/a", "s/b")
	if err := os.Rename(path, path+"~"); err != nil { // as vim does
		t.Fatal(err)
	}
	inPlace(t, path, one("a", "b", "c"))
	o.sees(t, "s/a", "s/b", "s/c")
	inPlace(t, path, one("a", "b", "c", "d"))
	o.sees(t, "s/a", "s/b", "s/c", "s/d")
	inPlace(t, path+"~", one("x"))
	o.silent(t, 300*time.Millisecond)
}

// TestWatchAcrossConfigMapSwap does what a kubelet does with a mounted ConfigMap.
func TestWatchAcrossConfigMapSwap(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	version := func(name string, body []byte) {
		if err := os.Mkdir(filepath.Join(directory, name), 0o700); err != nil {
			t.Fatal(err)
		}
		inPlace(t, filepath.Join(directory, name, "catalog.yaml"), body)
		if err := os.Symlink(name, filepath.Join(directory, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(directory, "..data_tmp"), filepath.Join(directory, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", one("a"))
	path := filepath.Join(directory, "catalog.yaml")
	if err := os.Symlink(filepath.Join("..data", "catalog.yaml"), path); err != nil {
		t.Fatal(err)
	}
	o := watch(t, path)
	o.sees(t, "s/a")
	for n, instances := range [][]string{{"a", "b"}, {"a", "b", "c"}, {"c"}} {
		version("..2"+string(rune('a'+n)), one(instances...))
		var want []string
		for _, id := range instances {
			want = append(want, "s/"+id)
		}
		o.sees(t, want...)
	}
	if err := os.RemoveAll(filepath.Join(directory, "..1")); err != nil { // the kubelet cleans up
		t.Fatal(err)
	}
	o.silent(t, 300*time.Millisecond)
}

// TestWatchFollowsTheLinkedFile changes a file that a link in another directory names.
func TestWatchFollowsTheLinkedFile(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "real.yaml")
	inPlace(t, target, one("a"))
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	o := watch(t, path)
	o.sees(t, "s/a")
	start := time.Now()
	inPlace(t, target, one("a", "b"))
	o.sees(t, "s/a", "s/b")
	byRename(t, target, one("a", "b", "c"))
	o.sees(t, "s/a", "s/b", "s/c")
	inPlace(t, target, one("a", "b", "c", "d"))
	o.sees(t, "s/a", "s/b", "s/c", "s/d")
	if took := time.Since(start); took > 4*time.Second { // two looks at the file come four seconds after the first
		t.Errorf("three changes took %v: nothing was notified", took)
	}
}

func TestInvalidFileKeepsTheLastGoodOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	inPlace(t, path, one("a", "b"))
	o := watch(t, path)
	o.sees(t, "s/a", "s/b")
	for name, body := range map[string]string{
		"empty":          "",
		"only a comment": "# nothing\n",
		"half a line":    "services:\n- name: s\n  instances:\n  - {id: a, addr",
		"no list":        "services:\n",
		"no instances":   "services:\n- name: s\n  instances:\n",
		"unknown key":    "services: []\nservice: []\n",
		"wrong type":     "services:\n- name: s\n  instances:\n  - {id: a, address: 192.0.2.1, port: http}\n",
		"not YAML":       "\x00\x01",
		"second part":    "services: []\n---\nservices: []\n",
		"too large":      "services: []\n" + strings.Repeat("#\n", file.MaxFile/2),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(o.told())
			byRename(t, path, []byte(body))
			until(t, "the fault is told", func() bool { return len(o.told()) > before })
			if told := o.told()[before]; !strings.HasPrefix(told, "file-invalid: "+path) {
				t.Errorf("told %q", told)
			}
			var invalid *file.InvalidError
			if err := o.source.LastError(); !errors.As(err, &invalid) {
				t.Errorf("LastError() = %v, want an InvalidError", err)
			}
			if s, err := o.source.Read(t.Context()); !errors.As(err, &invalid) {
				t.Errorf("Read() = %d services and %v, want an InvalidError", s.Len(), err)
			}
			byRename(t, path, []byte(body)) // the same again: not told twice
			time.Sleep(100 * time.Millisecond)
			byRename(t, path, one("a", "b"))
			until(t, "the file is good again", func() bool { return o.source.LastError() == nil })
			if n := len(o.told()); n != before+1 {
				t.Errorf("told %d times: %q", n-before, o.told()[before:])
			}
		})
	}
	o.silent(t, 0)
	byRename(t, path, one("a", "b", "c"))
	o.sees(t, "s/a", "s/b", "s/c")
	if bad, again := o.log.count("can't be used"), o.log.count("can be used again"); bad != 10 || again != 10 {
		t.Errorf("logged %d faults and %d returns, want 10 each", bad, again)
	}
}

// TestSlowWriter writes a catalog line by line: no state in between may be taken
// for a withdrawal.
func TestSlowWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	old, next := one("a", "b", "c", "d"), one("a", "b", "c", "d", "e")
	inPlace(t, path, old)
	o := watch(t, path)
	o.sees(t, "s/a", "s/b", "s/c", "s/d")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for line := range strings.Lines(string(next)) {
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Millisecond) // longer than a notification is held back
	}
	o.sees(t, "s/a", "s/b", "s/c", "s/d", "s/e")
}

func TestRealWithdrawal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	inPlace(t, path, one("a", "b"))
	o := watch(t, path)
	o.sees(t, "s/a", "s/b")
	byRename(t, path, one("b"))
	o.sees(t, "s/b")
	byRename(t, path, one())
	o.sees(t)
	byRename(t, path, one("b"))
	o.sees(t, "s/b")
	byRename(t, path, []byte("services: []\n"))
	o.sees(t)
}

func TestDeletionIsNotEmptiness(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	inPlace(t, path, one("a"))
	o := watch(t, path)
	o.sees(t, "s/a")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	until(t, "the deletion is told", func() bool { return o.source.LastError() != nil })
	if _, err := o.source.Read(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Read() = %v, want ErrNotExist", err)
	}
	inPlace(t, path, one("a")) // back within the time a replacement takes
	until(t, "the file is good again", func() bool { return o.source.LastError() == nil })
	o.silent(t, 2500*time.Millisecond)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-o.done:
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Watch ended with %v, want ErrNotExist", err)
		}
	case s := <-o.events:
		t.Errorf("got %v, want an error", ids(s))
	case <-time.After(10 * time.Second):
		t.Error("Watch goes on without a file")
	}
	inPlace(t, path, one("b"))
	again := watch(t, path)
	again.sees(t, "s/b")
}

func TestWatchNeedsAGoodFileAtTheStart(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	path := filepath.Join(directory, "catalog.yaml")
	for name, tt := range map[string]struct {
		prepare func()
		want    string
	}{
		"missing":   {func() {}, "no such file"},
		"invalid":   {func() { inPlace(t, path, []byte("services:\n- name: s\n  instances:\n  - {id: a, port: x}\n")) }, path + `:4:19: services[0].instances[0].port: "x" is no whole number`},
		"directory": {func() { _ = os.Remove(path); _ = os.Mkdir(path, 0o700) }, "not a regular file"},
	} {
		tt.prepare()
		o := watch(t, path)
		select {
		case err := <-o.done:
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: Watch ended with %v, want %q", name, err, tt.want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: Watch goes on", name)
		}
		_ = os.RemoveAll(path)
	}
}

func TestIndexIsTheContent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	o := newSource(t, path)
	read := func(body []byte) string {
		byRename(t, path, body)
		s, err := o.source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Index()
	}
	a, b := read(one("a")), read(one("b"))
	if a == b || a != read(one("a")) || len(a) != 16 {
		t.Errorf("indexes %q and %q", a, b)
	}
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errOver)
	if _, err := o.source.Read(over); !errors.Is(err, errOver) {
		t.Errorf("Read with an ended context: %v", err)
	}
}

func TestNewNeedsAll(t *testing.T) {
	t.Parallel()
	refused := func(*registry.Refusal) {}
	logger := slog.New(slog.DiscardHandler)
	for _, c := range []file.Config{{Logger: logger, Refused: refused}, {Path: "x", Refused: refused}, {Path: "x", Logger: logger}} {
		if _, err := file.New(c); err == nil {
			t.Errorf("New(%+v) gave no error", c)
		}
	}
}
