package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

const (
	absence = 2 * time.Second        // that a file may be missing before its watch ends: longer than any rename
	reread  = 200 * time.Millisecond // between the two reads of a catalog that lacks what was there
)

// Config is what a Source needs. All of it is required.
type Config struct {
	Path    string // of the catalog
	Logger  *slog.Logger
	Refused func(*registry.Refusal) // is told what a watch refused; called from the goroutine of Watch
}

// Source is the registry that one file is. Its methods may be called from any
// goroutine; one Watch runs at a time.
type Source struct {
	path    string
	logger  *slog.Logger
	refused func(*registry.Refusal)

	mu   sync.Mutex // guards the field below
	last error      // what is wrong with the file as Watch saw it last
}

// New returns a source of the catalog at c.Path, which need not exist yet. It
// opens and starts nothing.
func New(c Config) (*Source, error) {
	if c.Path == "" {
		return nil, errors.New("file: the path of the catalog is missing")
	}
	if c.Logger == nil || c.Refused == nil {
		return nil, errors.New("file: a logger and a function for refusals are needed")
	}
	return &Source{path: c.Path, logger: c.Logger, refused: c.Refused}, nil
}

// LastError returns why the file, as the watch saw it last, can't be used while
// an older catalog stands; nil when it can.
func (s *Source) LastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Read reads the whole file. It returns an [*InvalidError] when the content can't
// be used, also a fifth of a second later. What it refuses of single entries is told by Watch, not here.
func (s *Source) Read(ctx context.Context) (registry.Snapshot, error) {
	if ctx.Err() != nil {
		return registry.Snapshot{}, context.Cause(ctx)
	}
	v, err := s.readTwice(ctx)
	if err != nil {
		return registry.Snapshot{}, err
	}
	return v.snapshot, nil
}

// Watch emits the catalog, and again whenever the file has changed and can be
// used; a file that can't is told once and changes nothing. It returns the
// context's cause when ctx ends; an error when there is nothing to use at the
// start, or when the file stays missing or unreadable.
func (s *Source) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{source: s, emit: emit, cancel: cancel}
	defer w.forget()
	return Changes(inner, s.path, s.logger, func() { w.look(inner) })
}

// version is the file at one moment.
type version struct {
	snapshot registry.Snapshot
	refused  []*registry.Refusal
}

func (s *Source) read() (version, error) {
	body, err := readBounded(s.path)
	if large, ok := errors.AsType[*InvalidError](err); ok {
		return version{}, large
	}
	if err != nil {
		return version{}, fmt.Errorf("file: read the catalog: %w", err)
	}
	c, faults := parseCatalog(body)
	if len(faults) > 0 {
		return version{}, &InvalidError{Path: s.path, Faults: faults}
	}
	sum := sha256.Sum256(body)
	return version{registry.NewSnapshot(hex.EncodeToString(sum[:8]), c.services...), c.refused}, nil
}

// readTwice reads the file once more, a little later, when it can't be used: it
// may be about to be replaced.
func (s *Source) readTwice(ctx context.Context) (version, error) {
	v, err := s.read()
	if err == nil {
		return v, nil
	}
	if !pause(ctx, reread) {
		return version{}, context.Cause(ctx)
	}
	return s.read()
}

// readBounded reads a regular file; opening a pipe would block for ever.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxFile {
		return nil, &InvalidError{Path: path, Faults: []Fault{{Detail: fmt.Sprintf("the file is larger than %d bytes", MaxFile)}}}
	}
	return body, nil
}

// watch is the state of one Watch. One goroutine owns it.
type watch struct {
	source  *Source
	emit    func(registry.Snapshot)
	cancel  context.CancelCauseFunc
	good    *version // the last that was emitted
	missing *time.Timer
}

// look reads the file and decides what follows from it.
func (w *watch) look(ctx context.Context) {
	read := func(context.Context) (version, error) { return w.source.read() }
	if w.good == nil {
		read = w.source.readTwice
	}
	v, err := read(ctx)
	for range 5 { // a writer that never pauses must not put off the news for ever
		if err != nil || w.good == nil || !lacks(v.snapshot, w.good.snapshot) {
			break
		}
		if !pause(ctx, reread) {
			return
		}
		first := v.snapshot.Index()
		if v, err = w.source.read(); err == nil && v.snapshot.Index() == first {
			break
		}
	}
	var invalid *InvalidError
	switch {
	case ctx.Err() != nil:
	case err == nil:
		w.take(v)
	case w.good == nil:
		w.cancel(err)
	case errors.As(err, &invalid):
		w.back()
		w.tell(err, "file-invalid")
	default:
		w.tell(err, "file-unreadable")
		if w.missing == nil {
			w.missing = time.AfterFunc(absence, func() { w.cancel(err) })
		}
	}
}

// take emits a catalog that differs from the one that stands.
func (w *watch) take(v version) {
	w.back()
	s := w.source
	if s.set(nil) != nil {
		s.logger.Info("the catalog can be used again", "path", s.path, "services", v.snapshot.Len())
	}
	if w.good != nil && w.good.snapshot.Index() == v.snapshot.Index() {
		return
	}
	w.good = &v
	for _, r := range v.refused {
		s.refused(r)
	}
	w.emit(v.snapshot)
}

// tell says once what is wrong with the file.
func (w *watch) tell(err error, reason string) {
	s := w.source
	if old := s.set(err); old != nil && old.Error() == err.Error() {
		return
	}
	s.logger.Warn("the catalog can't be used; the last good one stands", "path", s.path, "err", err)
	s.refused(&registry.Refusal{Reason: reason, Detail: err.Error()})
}

// back ends the countdown of a missing file.
func (w *watch) back() {
	if w.missing != nil {
		w.missing.Stop()
		w.missing = nil
	}
}

// forget ends what the watch has started.
func (w *watch) forget() {
	w.back()
	_ = w.source.set(nil) // the old one is of no more use
}

// set replaces the last error and returns the one before.
func (s *Source) set(err error) (old error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.last = s.last, err
	return old
}

// lacks reports whether next is without a service or an instance of old: the
// part of a file that is still being written would be.
func lacks(next, old registry.Snapshot) bool {
	for _, c := range registry.Diff(old, next) {
		if c.New == nil {
			return true
		}
		if changes := registry.Compare(c.Old, c.New); changes != nil && len(changes.Removed) > 0 {
			return true
		}
	}
	return false
}

// pause waits; false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
