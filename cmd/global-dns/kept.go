package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
)

// keptHistory is the archive of this global-dns, for questions about what the stream no
// longer holds. Any number of goroutines may use it; the zero one has no archive.
type keptHistory struct {
	path   string
	logger *slog.Logger

	mu   sync.Mutex // guards the fields below
	open *archive.Archive
	said time.Time
}

// with returns the stream and the archive as one history, and the archive. Where that can't
// be read, or is another stream's, the stream is asked alone: a question that it can't
// answer then is refused as too early.
func (k *keptHistory) with(ctx context.Context, live audit.History) (audit.History, *archive.Archive) {
	if k.path == "" {
		return live, nil
	}
	kept, err := k.opened()
	if err == nil {
		joined := archive.Join(kept, live)
		if _, err = joined.Span(ctx); err == nil {
			return joined, kept
		}
	}
	if ctx.Err() == nil && !errors.Is(err, archive.ErrNone) {
		k.complain(err)
	}
	return live, nil
}

// opened opens the archive, once there is one.
func (k *keptHistory) opened() (_ *archive.Archive, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open == nil {
		k.open, err = archive.Open(k.path)
	}
	return k.open, err
}

// complain says why the archive is not asked, once a minute at most.
func (k *keptHistory) complain(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.said) > complaintEvery {
		k.said = time.Now()
		k.logger.Warn("questions about the past are not asked of the archive", "path", k.path, "err", err)
	}
}
