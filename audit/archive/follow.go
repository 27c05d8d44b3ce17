package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

const (
	askEvery = 10 * time.Second // how often a writer that follows asks where the stream ends
	ahead    = 256              // messages that are read while others are written
)

// CatchUp archives all that the history holds now beyond what is archived already, and
// returns when all of it is on disk. The error is [ErrOtherStream], the history's, the
// disk's, or the end of ctx; what was archived until then stands, and a later call goes on.
// Progress, which may be nil, is told after each block.
func (w *Writer) CatchUp(ctx context.Context, h audit.History, progress func(Status)) error {
	span, err := w.begin(ctx, h)
	if err != nil {
		return err
	}
	from := max(w.last+1, span.First)
	if span.Empty() || span.Last < from {
		return w.retain()
	}
	return w.run(ctx, h, audit.Range{From: from, To: span.Last}, progress)
}

// Follow is CatchUp, and then goes on with what comes, until ctx ends (then the error is
// nil) or something fails. After a failure it may be called again.
func (w *Writer) Follow(ctx context.Context, h audit.History) error {
	span, err := w.begin(ctx, h)
	if err == nil {
		err = w.run(ctx, h, audit.Range{From: max(w.last+1, span.First), Follow: true}, nil)
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// begin looks whether this is the history that was archived here.
func (w *Writer) begin(ctx context.Context, h audit.History) (audit.Span, error) {
	w.pending, w.bytes = nil, 0 // what a call before could not write is read again
	span, err := h.Span(ctx)
	if err != nil {
		return span, err
	}
	w.knows(span.Last)
	last := w.last
	if last == 0 {
		w.manifest.Began = span.Began
		return span, w.store()
	}
	if span.Last < last {
		return span, fmt.Errorf("%w: it ends with #%d, before what is archived (#%d): wait until it was recovered, or archive it to another folder", ErrOtherStream, span.Last, last)
	}
	if w.latest.Sequence != last || span.First > last {
		return span, nil // nothing to compare: a gap is told by its sequences
	}
	for m, err := range h.Read(ctx, audit.Range{From: last, To: last}) {
		if err != nil {
			return span, err
		}
		if same(m, w.latest) {
			return span, nil
		}
		if !w.options.Replaced {
			return span, fmt.Errorf("%w: its message #%d (%s, stored %s) is not the one that is archived (%s, stored %s): archive it to another folder, or say that the stream was replaced",
				ErrOtherStream, last, m.Subject, m.Time.Format(time.RFC3339), w.latest.Subject, w.latest.Time.Format(time.RFC3339))
		}
		w.options.Logger.Warn("the stream was replaced since it was archived: what stands in the archive stays", "sequence", last)
		return span, w.breakOff()
	}
	return span, nil
}

// breakOff ends the tail, so that the next one begins with a mark.
func (w *Writer) breakOff() error {
	if err := w.sealTail(); err != nil {
		return err
	}
	mark := &Break{After: w.latest.Sequence, Time: w.latest.Time}
	w.latest = registry.Stored{} // the next comparison is with a message of the new stream
	return w.beginTail(mark, &judged{})
}

// run reads in one goroutine and writes in this one.
func (w *Writer) run(ctx context.Context, h audit.History, r audit.Range, progress func(Status)) (err error) {
	ctx, stop := context.WithCancel(ctx)
	w.ask = func() (audit.Span, error) { return h.Span(ctx) }
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	messages := make(chan registry.Stored, ahead)
	var failed error // set before messages is closed
	wg.Go(func() {
		defer close(messages)
		for m, err := range h.Read(ctx, r) {
			if err != nil {
				failed = err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				failed = context.Cause(ctx)
				return
			}
		}
		failed = context.Cause(ctx)
	})
	var end atomic.Uint64
	if r.Follow {
		wg.Go(func() { askForEnd(ctx, h, &end) })
	}
	if err := w.take(messages, &end, progress); err != nil {
		return err
	}
	if err := errors.Join(w.flush(), w.tail.sync()); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if r.Follow {
		return errors.New("the history ended although it was to be followed")
	}
	return w.retain()
}

// askForEnd asks from time to time where a history ends, to tell how far behind one is.
func askForEnd(ctx context.Context, h audit.History, end *atomic.Uint64) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if span, err := h.Span(ctx); err == nil { // reading tells of errors
			end.Store(span.Last)
		}
	}
}

// take writes what comes until nothing more does.
func (w *Writer) take(messages <-chan registry.Stored, end *atomic.Uint64, progress func(Status)) error {
	timer := time.NewTimer(w.options.Flush)
	defer timer.Stop()
	for {
		select {
		case m, more := <-messages:
			if !more {
				return nil
			}
			before := w.last
			if err := w.add(m); err != nil {
				return err
			}
			if progress != nil && w.last != before {
				progress(w.Status())
			}
		case <-timer.C:
			timer.Reset(w.options.Flush)
			if last := end.Load(); last > 0 {
				w.knows(last)
			}
			if err := errors.Join(w.flush(), w.tail.sync()); err != nil {
				return err
			}
		}
	}
}

// knows takes note of where the stream ends.
func (w *Writer) knows(last uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Behind = last - min(last, w.status.Last)
}

// add takes one message in.
func (w *Writer) add(m registry.Stored) error {
	last, at := w.last, w.lastTime
	if n := len(w.pending); n > 0 {
		last, at = w.pending[n-1].Sequence, w.pending[n-1].Time
	}
	if m.Sequence <= last {
		return fmt.Errorf("archive: the history gives #%d after #%d", m.Sequence, last)
	}
	if last > 0 && m.Sequence > last+1 {
		if err := w.skip(between(last, at, m.Sequence, m.Time)); err != nil {
			return err
		}
	}
	if size := len(m.Body); w.bytes+size > blockBytes && len(w.pending) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if since := w.since(); !since.IsZero() && m.Time.Sub(since) >= w.options.SegmentAge {
		if err := errors.Join(w.flush(), w.sealTail()); err != nil {
			return err
		}
	}
	w.pending = append(w.pending, m)
	w.bytes += len(m.Body)
	if len(w.pending) >= blockMessages || w.bytes >= blockBytes {
		return w.flush()
	}
	return nil
}

// since returns when the first message of the tail, or of what is to be written there,
// was stored; zero: there is none.
func (w *Writer) since() time.Time {
	switch {
	case w.tail != nil && w.tail.blocks > 0:
		return w.tail.since
	case len(w.pending) > 0:
		return w.pending[0].Time
	}
	return time.Time{}
}

// flush writes what is pending as one block, and seals the tail when it is long enough.
func (w *Writer) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	whole, h, err := w.coder.block(w.pending)
	if err != nil {
		return err
	}
	if w.tail == nil {
		if err := w.beginTail(nil, &judged{}); err != nil {
			return err
		}
	}
	first, last := w.pending[0], w.pending[len(w.pending)-1]
	if err := w.tail.append(whole, first.Time); err != nil {
		return fmt.Errorf("archive %s: %w: what was archived stands, and it goes on when the disk can be written again", w.dir, err)
	}
	w.last, w.lastTime = last.Sequence, last.Time
	w.latest, w.greatest = last, later(w.greatest, moment(h.greatest))
	w.mu.Lock()
	s := &w.status
	if s.First > s.Last || s.Begin.IsZero() {
		s.First, s.Begin = first.Sequence, first.Time
	}
	s.Behind -= min(s.Behind, last.Sequence-s.Last)
	s.Last, s.End = last.Sequence, last.Time
	s.Taken += uint64(len(w.pending))
	s.Bytes += int64(len(whole))
	w.mu.Unlock()
	w.pending, w.bytes = w.pending[:0], 0
	if w.tail.end >= w.options.SegmentBytes {
		return w.sealTail()
	}
	return nil
}

func (w *Writer) beginTail(mark *Break, own *judged) error {
	t, err := makeTail(w.dir, header{Archive: w.manifest.Archive, Number: w.manifest.next(), After: w.manifest.chain(), Began: w.manifest.Began, Break: mark, Judged: own})
	if err != nil {
		return fmt.Errorf("archive %s: %w", w.dir, err)
	}
	w.tail = t
	return nil
}

// sealTail makes a segment of the tail, and drops what is too old.
func (w *Writer) sealTail() error {
	if w.tail == nil {
		return nil
	}
	if w.tail.blocks == 0 {
		old := w.tail
		w.tail = nil
		return errors.Join(old.file.Close(), os.Remove(old.path))
	}
	s, err := seal(w.dir, w.tail, w.coder)
	if err != nil {
		return err
	}
	w.manifest.segments = append(w.manifest.segments, s)
	if err := w.store(); err != nil {
		w.manifest.segments = w.manifest.segments[:len(w.manifest.segments)-1]
		return err
	}
	old := w.tail
	w.tail = nil
	w.mu.Lock()
	w.measure()
	w.mu.Unlock()
	w.options.Logger.Info("a segment was sealed", "file", s.File, "first", s.First, "last", s.Last, "bytes", s.Bytes)
	if err := errors.Join(old.file.Close(), os.Remove(old.path)); err != nil {
		return fmt.Errorf("archive %s: %w", w.dir, err)
	}
	return w.retain()
}

// retain drops the oldest segments that are too old or too many. What is dropped is
// noted before it is removed.
func (w *Writer) retain() error {
	o := w.options
	total := w.Status().Bytes
	keep := 0
	for _, s := range w.manifest.segments {
		old := o.RetentionAge > 0 && w.greatest.Sub(s.Latest) > o.RetentionAge
		many := o.RetentionBytes > 0 && total > o.RetentionBytes
		if !old && !many {
			break
		}
		total -= s.Bytes
		keep++
	}
	if keep == 0 {
		return nil
	}
	before := w.manifest
	gone := before.segments[:keep]
	last := gone[keep-1]
	w.manifest.segments = append([]sealed(nil), before.segments[keep:]...)
	w.manifest.Dropped = dropped{Number: last.Number, Last: last.Last, Time: last.End, Chain: last.Chain}
	if err := w.store(); err != nil {
		w.manifest = before
		return err
	}
	var err error
	for _, s := range gone {
		err = errors.Join(err, os.Remove(filepath.Join(w.dir, s.File)))
	}
	w.options.Logger.Info("segments were dropped by retention", "segments", keep, "up_to", last.Last)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.First, w.status.Begin = w.manifest.Dropped.Last+1, time.Time{}
	if len(w.manifest.segments) > 0 {
		w.status.First, w.status.Begin = w.manifest.segments[0].First, w.manifest.segments[0].Begin
	} else if w.tail != nil && w.tail.blocks > 0 {
		w.status.Begin = w.tail.since
	}
	w.measure()
	return err
}
