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

// join returns the stream and the archive as one history: before, as it was joined for the
// question before this one, or joined anew where that is nil. It is nil where the archive can't
// be read, or is another stream's: then the stream is asked alone, and a question that it can't
// answer is refused as too early.
func (k *keptHistory) join(ctx context.Context, live audit.History, before *archive.Joined) *archive.Joined {
	if k.path == "" {
		return nil
	}
	if before == nil {
		kept, err := k.opened()
		if err != nil {
			k.complain(err)
			return nil
		}
		before = archive.Join(kept, live)
	}
	if _, err := before.Span(ctx); err != nil {
		if ctx.Err() == nil {
			k.complain(err)
		}
		return nil
	}
	return before
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

// complain says why the archive is not asked, once a minute at most. That there is none yet is
// no complaint.
func (k *keptHistory) complain(err error) {
	if errors.Is(err, archive.ErrNone) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.said) > complaintEvery {
		k.said = time.Now()
		k.logger.Warn("questions about the past are not asked of the archive", "path", k.path, "err", err)
	}
}
