package file

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

var errOver = errors.New("the test is over")

// follow runs f, a watch of the path, until the test ends.
func follow(t *testing.T, f func(ctx context.Context, changed func()) error) chan struct{} {
	t.Helper()
	told := make(chan struct{}, 10_000)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context())) // which ends before Cleanup
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx, func() { told <- struct{}{} }); !errors.Is(err, errOver) {
			t.Errorf("the watch ended with %v, want the context's cause", err)
		}
	})
	t.Cleanup(func() {
		cancel(errOver)
		wg.Wait()
	})
	return told
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hears waits for a call, and swallows those that belong to it.
func hears(t *testing.T, told <-chan struct{}, limit time.Duration) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(limit):
		t.Fatalf("no change was told within %v", limit)
	}
	for {
		select {
		case <-told:
		case <-time.After(3 * patience):
			return
		}
	}
}

func changes(path string) func(ctx context.Context, changed func()) error {
	return func(ctx context.Context, changed func()) error {
		return Changes(ctx, path, slog.New(slog.DiscardHandler), changed)
	}
}

func TestChangesTellsABurstOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "0")
	var calls atomic.Int32
	ctx, cancel := context.WithCancelCause(t.Context())
	begun := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = Changes(ctx, path, slog.New(slog.DiscardHandler), func() {
			if calls.Add(1) == 1 {
				close(begun)
			}
		})
	})
	<-begun
	start := time.Now()
	for n := range 500 {
		put(t, path, strconv.Itoa(n))
	}
	took := time.Since(start)
	time.Sleep(5 * patience)
	cancel(errOver)
	wg.Wait()
	if n, most := int(calls.Load()), 3+int(took/quiet); n < 2 || n > most {
		t.Errorf("called %d times for 500 writes in %v, want 2 to %d", n, took, most)
	}
}

// TestChangesIsNotPutOffForEver is notified without a pause longer than quiet.
func TestChangesIsNotPutOffForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := 0
		w := watcher{path: "/does/not/exist", logger: slog.New(slog.DiscardHandler), changed: func() { told++ }}
		ctx, cancel := context.WithCancelCause(t.Context())
		events := make(chan fsnotify.Event)
		var wg sync.WaitGroup
		wg.Go(func() { _ = w.listen(ctx, events, nil) })
		const period = quiet / 2
		for range time.Second / period {
			events <- fsnotify.Event{Name: w.path, Op: fsnotify.Write}
			time.Sleep(period)
		}
		cancel(errOver)
		wg.Wait()
		if least, most := int(time.Second/patience)-1, int(time.Second/patience)+2; told < least || told > most {
			t.Errorf("%d times in a second, want %d to %d", told, least, most)
		}
	})
}

func TestChangesIgnoresNeighbours(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	path := filepath.Join(directory, "file")
	put(t, path, "0")
	told := follow(t, changes(path))
	hears(t, told, 10*time.Second)
	for n := range 20 {
		put(t, filepath.Join(directory, "other"+strconv.Itoa(n)), "x")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
		t.Error("a change was told, although the file is the same")
	case <-time.After(5 * patience):
	}
}

func TestChangesWaitsForADirectory(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(directory, "file")
	told := follow(t, changes(path))
	hears(t, told, 10*time.Second)
	for range 2 {
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, path, "x")
		hears(t, told, 10*time.Second)
		put(t, path, "y") // from here on it is notified
		hears(t, told, lookAgain/2)
		if err := os.RemoveAll(directory); err != nil {
			t.Fatal(err)
		}
		hears(t, told, 10*time.Second)
	}
}

func TestChangesWithoutNotifications(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "0")
	w := watcher{path: path, logger: slog.New(slog.DiscardHandler)}
	told := follow(t, func(ctx context.Context, changed func()) error {
		w.changed = changed
		return w.run(ctx)
	})
	hears(t, told, 10*time.Second)
	put(t, path, "01")
	hears(t, told, 10*time.Second)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	hears(t, told, 10*time.Second)
}
