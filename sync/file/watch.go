package file

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The periods of [Changes].
const (
	quiet     = 10 * time.Millisecond  // without another notification, before a change is told
	patience  = 100 * time.Millisecond // the longest that notifications can put that off
	lookAgain = 2 * time.Second        // between looks at the file where nothing notifies
)

// Changes calls changed once when it has begun to watch, so that a read from there
// misses nothing, and then whenever the content at path may have changed: once for
// a burst of writes, and now and then for nothing. It follows the file across
// renames, deletion and return, and when links to it are swapped. It blocks until
// ctx ends and returns its cause; changed is called from the same goroutine, also
// while the file does not exist.
func Changes(ctx context.Context, path string, logger *slog.Logger, changed func()) error {
	w := watcher{path: filepath.Clean(path), logger: logger, changed: changed}
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("the file system does not notify; looking at the file from time to time", "path", path, "every", lookAgain, "err", err)
	} else {
		defer notifier.Close()
		w.notifier = notifier
	}
	return w.run(ctx)
}

type watcher struct {
	path     string
	logger   *slog.Logger
	notifier *fsnotify.Watcher // nil: there are no notifications
	changed  func()

	directories []string // that are watched
	last        fingerprint
	deaf        bool // a directory could not be watched, which was said
}

func (w *watcher) run(ctx context.Context) error {
	if w.notifier == nil {
		return w.listen(ctx, nil, nil)
	}
	return w.listen(ctx, w.notifier.Events, w.notifier.Errors)
}

// listen tells what the notifications, and a look from time to time, bring.
func (w *watcher) listen(ctx context.Context, events <-chan fsnotify.Event, faults <-chan error) error {
	w.tell(true)
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	settle := time.NewTimer(time.Hour)
	settle.Stop()
	defer settle.Stop()
	var since time.Time // of the first notification not yet told
	own := false        // one of them was about the file itself
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if e.Op == fsnotify.Chmod && look(w.path).same(w.last) {
				continue
			}
			own = own || filepath.Clean(e.Name) == w.path
			if since.IsZero() {
				since = time.Now()
			}
			settle.Reset(max(min(quiet, patience-time.Since(since)), 0))
		case err, ok := <-faults:
			if !ok {
				faults = nil
				continue
			}
			w.logger.Warn("the file system's notifications have a fault", "path", w.path, "err", err)
			own = true // notifications were lost: look
			settle.Reset(quiet)
		case <-settle.C:
			w.tell(own)
			since, own = time.Time{}, false
		case <-again.C:
			w.tell(false)
		}
	}
}

// tell calls changed if the file differs from what was seen last, or anyway.
func (w *watcher) tell(anyway bool) {
	w.follow()
	now := look(w.path)
	if now.same(w.last) && !anyway {
		return
	}
	w.last = now
	w.changed()
}

// follow watches the directory of the file, and that of the file it links to.
func (w *watcher) follow() {
	if w.notifier == nil {
		return
	}
	directories := []string{filepath.Dir(w.path)}
	if target, err := filepath.EvalSymlinks(w.path); err == nil && filepath.Dir(target) != directories[0] {
		directories = append(directories, filepath.Dir(target))
	}
	for _, old := range w.directories {
		if !slices.Contains(directories, old) {
			_ = w.notifier.Remove(old) // it may be gone, and its watch with it
		}
	}
	var watched []string
	for _, directory := range directories {
		err := w.notifier.Add(directory) // again, in case it was made anew
		switch {
		case err == nil:
			watched = append(watched, directory)
		case !errors.Is(err, os.ErrNotExist) && !w.deaf:
			w.deaf = true
			w.logger.Warn("a directory can't be watched; looking at the file from time to time", "path", directory, "every", lookAgain, "err", err)
		}
	}
	w.directories = watched
}

// fingerprint tells two versions of a file apart without reading them. Its info is
// nil where there is no file.
type fingerprint struct{ info os.FileInfo }

func look(path string) fingerprint {
	info, err := os.Stat(path)
	if err != nil {
		return fingerprint{}
	}
	return fingerprint{info}
}

func (f fingerprint) same(o fingerprint) bool {
	if f.info == nil || o.info == nil {
		return f.info == nil && o.info == nil
	}
	return os.SameFile(f.info, o.info) && f.info.Size() == o.info.Size() && f.info.ModTime().Equal(o.info.ModTime())
}
