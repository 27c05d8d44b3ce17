package archive_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// catchUp archives all of a history with a writer of its own.
func catchUp(t require, ctx context.Context, dir string, h audit.History, o archive.Options) archive.Status {
	t.Helper()
	w, err := archive.NewWriter(dir, o)
	if err != nil {
		t.Fatalf("new writer: %v", err)
	}
	err = w.CatchUp(ctx, h, nil)
	s := w.Status()
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatalf("catch up: %v", err)
	}
	return s
}

func open(t require, dir string) *archive.Archive {
	t.Helper()
	a, err := archive.Open(dir)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return a
}

// What goes in comes out, whatever the segments are, in however many runs.
func TestArchiveEqualsHistory(t *testing.T) {
	root := t.TempDir()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		dir := filepath.Join(root, "archive")
		defer os.RemoveAll(dir)
		h := &memory{}
		next := uint64(rapid.IntRange(0, 20).Draw(t, "from"))
		reader := (*archive.Archive)(nil)
		for range rapid.IntRange(1, 3).Draw(t, "runs") {
			h.add(anyMessages(t, next, "messages")...)
			if span, _ := h.Span(ctx); !span.Empty() {
				next = span.Last
			}
			o := archive.Options{SegmentAge: rapid.SampledFrom([]time.Duration{time.Hour, time.Hour, 40 * time.Second}).Draw(t, "age")}
			s := catchUp(t, ctx, dir, h, o)
			if len(s.Faults) > 0 || s.Behind != 0 {
				t.Fatalf("status %+v", s)
			}
			if reader == nil {
				reader = open(t, dir)
			}
			if span, _ := h.Span(ctx); span.Empty() {
				continue
			}
			random := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") }
			alike(t, ctx, reader, h, random) // one that was opened long ago
			a := open(t, dir)
			alike(t, ctx, a, h, random)
			if wrong, err := a.Verify(ctx, nil); err != nil || len(wrong) > 0 || len(a.Faults()) != len(a.Gaps()) {
				t.Fatalf("verify: %v %v, faults %v", wrong, err, a.Faults())
			}
			a.Close()
		}
		if reader != nil {
			reader.Close()
		}
	})
}

// Many blocks in many segments.
func TestArchiveLargeHistory(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 20_000, 500)...)
	s := catchUp(t, ctx, dir, h, archive.Options{SegmentBytes: archive.MinSegmentBytes})
	if s.Segments < 5 || s.Last != 20_000 || s.Taken != 20_000 {
		t.Fatalf("status %+v", s)
	}
	a := open(t, dir)
	alike(t, ctx, a, h, rand.New(rand.NewPCG(1, 2)).IntN)
	if f := a.Faults(); len(f) > 0 {
		t.Error(f)
	}
}

// What follows comes in while it is read.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, dir := start(t)
		h := &memory{}
		h.add(history(1, 2500, 50)...)
		w, err := archive.NewWriter(dir, archive.Options{SegmentBytes: archive.MinSegmentBytes, Flush: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		follow, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- w.Follow(follow, h) }()
		a := open(t, dir)
		for n := uint64(2500); n <= 6000; n += 500 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if span, err := a.Span(ctx); err != nil || span.Last != n {
				t.Fatalf("#%d does not come: %+v, %v, %+v", n, span, err, w.Status())
			}
			alike(t, ctx, a, h, rand.New(rand.NewPCG(n, 2)).IntN)
			h.add(history(n+1, 500, 50)...)
		}
		stop()
		if err := errors.Join(<-done, w.Close()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Error("the second close:", err)
		}
	})
}

// A gap because the stream was faster is told, and stays told.
func TestGapIsTold(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 100, 5)...)
	catchUp(t, ctx, dir, h, archive.Options{})
	h.add(history(101, 100, 5)...)
	h.drop(151)
	s := catchUp(t, ctx, dir, h, archive.Options{})
	want := archive.Gap{First: 101, Last: 150, Before: message(100, 0).Time, After: message(151, 0).Time}
	if len(s.Gaps) != 1 || s.Gaps[0] != want {
		t.Errorf("gaps %+v, want %+v", s.Gaps, want)
	}
	a := open(t, dir)
	if got := a.Gaps(); len(got) != 1 || got[0] != want {
		t.Errorf("gaps %+v, want %+v", got, want)
	}
	if got := read(t, a.Read(ctx, audit.Range{From: 90, To: 160})); len(got) != 21 || got[11].Sequence != 151 {
		t.Errorf("%d messages", len(got))
	}
	h.add(message(251, 3)) // and one more gap, between two segments
	s = catchUp(t, ctx, dir, h, archive.Options{SegmentAge: time.Millisecond})
	if len(s.Gaps) != 2 || s.Segments != 2 || !s.Gaps[1].Missing {
		t.Fatalf("status %+v", s)
	}
	if got := a.Gaps(); len(got) != 2 || got[0] != want || !got[1].Missing {
		t.Errorf("gaps %+v", got)
	}
	if s := catchUp(t, ctx, dir, h, archive.Options{}); len(s.Gaps) != 2 || s.Taken != 0 || s.Gaps[0].Missing || !s.Gaps[1].Missing {
		t.Errorf("status %+v", s)
	}
}

// What somebody took away while it was not archived yet was held to have aged out for ever.
func TestMissingIsNotGone(t *testing.T) {
	for name, test := range map[string]struct {
		change    func(h *memory)
		gone      [][2]uint64
		retention *stream.Retention
	}{
		"aged out":                      {func(h *memory) { h.drop(151) }, [][2]uint64{{101, 150}}, nil},
		"taken from the middle":         {func(h *memory) { h.take(121, 150) }, nil, nil},
		"both":                          {func(h *memory) { h.drop(111); h.take(121, 150) }, [][2]uint64{{101, 110}}, nil},
		"made anew":                     {func(h *memory) { h.drop(151); h.began = 151 }, [][2]uint64{{101, 150}}, &stream.Retention{}},
		"made anew, and taken":          {func(h *memory) { h.drop(151); h.began = 131 }, [][2]uint64{{101, 130}}, &stream.Retention{}},
		"too young to have aged out":    {func(h *memory) { h.drop(151) }, nil, &stream.Retention{Age: 100 * 365 * 24 * time.Hour}},
		"old enough to have aged out":   {func(h *memory) { h.drop(151) }, [][2]uint64{{101, 150}}, &stream.Retention{Age: time.Hour}},
		"young, and the stream is full": {func(h *memory) { h.drop(151) }, [][2]uint64{{101, 150}}, &stream.Retention{Full: true}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, dir := start(t)
			h := &memory{}
			h.add(history(1, 100, 5)...)
			catchUp(t, ctx, dir, h, archive.Options{})
			h.add(history(101, 100, 5)...)
			a := open(t, dir)
			defer a.Close()
			joined := archive.Join(a, h)
			test.change(h)
			h.retention = test.retention
			if span, err := joined.Span(ctx); err != nil || !slices.Equal(span.Gone, test.gone) {
				t.Errorf("joined, gone are %v, want %v; %v", span.Gone, test.gone, err)
			}
			check := func(when string) {
				t.Helper()
				span, err := a.Span(ctx)
				if err != nil || !slices.Equal(span.Gone, test.gone) || len(span.Holes) == 0 {
					t.Errorf("%s: gone are %v of %v, want %v; %v", when, span.Gone, span.Holes, test.gone, err)
				}
			}
			catchUp(t, ctx, dir, h, archive.Options{})
			check("in the tail")
			catchUp(t, ctx, dir, h, archive.Options{}) // opened anew
			check("in the tail, opened anew")
			h.add(history(201, 10, 5)...)
			catchUp(t, ctx, dir, h, archive.Options{SegmentAge: time.Millisecond})
			check("in a segment")
			if err := os.Remove(filepath.Join(dir, "manifest")); err != nil {
				t.Fatal(err)
			}
			catchUp(t, ctx, dir, h, archive.Options{})
			check("with a manifest made anew")
		})
	}
}

// Archives of versions that did not tell the two apart are read as they were.
func TestOldArchiveKeepsItsGaps(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 100, 5)...)
	h.take(41, 50)
	catchUp(t, ctx, dir, h, archive.Options{})
	archive.ForgetJudged(t, dir)
	h.add(history(101, 100, 5)...)
	h.take(111, 120)
	a := open(t, dir)
	defer a.Close()
	for range 2 { // the tail as it was, and what was added to it
		span, err := a.Span(ctx)
		if err != nil || !slices.Equal(span.Gone, [][2]uint64{{41, 50}}) {
			t.Errorf("gone are %v of %v, %v", span.Gone, span.Holes, err)
		}
		catchUp(t, ctx, dir, h, archive.Options{})
	}
	if gaps := a.Gaps(); len(gaps) != 2 || gaps[0].Missing || !gaps[1].Missing {
		t.Errorf("gaps %+v", gaps)
	}
}

// A stream with another last message is another stream: refused, or marked.
func TestOtherStreamIsRefused(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 100, 5)...)
	catchUp(t, ctx, dir, h, archive.Options{})
	other := &memory{}
	other.add(history(1, 50, 7)...)
	w, err := archive.NewWriter(dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CatchUp(ctx, other, nil); !errors.Is(err, archive.ErrOtherStream) || !strings.Contains(err.Error(), "#50") {
		t.Errorf("a shorter stream: %v", err)
	}
	other.add(history(51, 150, 7)...)
	if err := w.CatchUp(ctx, other, nil); !errors.Is(err, archive.ErrOtherStream) || !strings.Contains(err.Error(), "#100") {
		t.Errorf("another stream: %v", err)
	}
	w.Close()
	catchUp(t, ctx, dir, other, archive.Options{Replaced: true})
	s := catchUp(t, ctx, dir, other, archive.Options{})
	if s.Last != 200 {
		t.Errorf("status %+v", s)
	}
	a := open(t, dir)
	got := read(t, a.Read(ctx, audit.Range{}))
	equal(t, "all", got, append(history(1, 100, 5), other.messages[100:]...))
	if b := a.Breaks(); len(b) != 1 || b[0].After != 100 {
		t.Errorf("breaks %+v", b)
	}
}

func TestRetentionDropsWholeSegments(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 20_000, 50)...)
	o := archive.Options{SegmentBytes: archive.MinSegmentBytes, RetentionAge: 2 * time.Hour}
	s := catchUp(t, ctx, dir, h, o)
	oldest := h.messages[len(h.messages)-1].Time.Add(-2 * time.Hour)
	if s.First == 1 || s.Begin.After(oldest) || s.Begin.Before(oldest.Add(-2*time.Hour)) {
		t.Errorf("status %+v, want the first before %v", s, oldest)
	}
	a := open(t, dir)
	h.drop(s.First)
	alike(t, ctx, a, h, rand.New(rand.NewPCG(1, 2)).IntN)
	o.RetentionBytes = 200 << 10
	if s = catchUp(t, ctx, dir, h, o); s.Bytes > 200<<10 || s.Segments == 0 {
		t.Errorf("status %+v", s)
	}
	h.drop(s.First)
	alike(t, ctx, a, h, rand.New(rand.NewPCG(1, 2)).IntN)
	files, _ := filepath.Glob(dir + "/*.segment")
	if len(files) != s.Segments {
		t.Errorf("%d files, %d segments", len(files), s.Segments)
	}
	if wrong, err := a.Verify(ctx, nil); err != nil || len(wrong) > 0 {
		t.Errorf("verify: %v %v", wrong, err)
	}
}

func TestOneWriterPerFolder(t *testing.T) {
	_, dir := start(t)
	w, err := archive.NewWriter(dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.NewWriter(dir, archive.Options{}); !errors.Is(err, archive.ErrLocked) {
		t.Errorf("a second writer: %v", err)
	}
	w.Close()
	if w, err = archive.NewWriter(dir, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	w.Close()
}

func TestNoArchive(t *testing.T) {
	_, dir := start(t)
	if _, err := archive.Open(dir); !errors.Is(err, archive.ErrNone) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := archive.Open(t.TempDir()); !errors.Is(err, archive.ErrNone) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := archive.NewWriter(dir+"/a/b", archive.Options{}); err == nil {
		t.Error("a folder without a parent was made")
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := archive.NewWriter(file, archive.Options{}); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// A history that fails ends it with what was read until then; a later call goes on.
func TestHistoryFails(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 1500, 5)...)
	w, err := archive.NewWriter(dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	h.fail = errTest
	if err := w.CatchUp(ctx, h, nil); !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
	h.fail = nil
	var told []uint64
	if err := w.CatchUp(ctx, h, func(s archive.Status) { told = append(told, s.Taken) }); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || w.Status().Taken != 1500 {
		t.Errorf("progress %v", told)
	}
	equal(t, "all", read(t, open(t, dir).Read(ctx, audit.Range{})), h.messages)
	if _, err := archive.Open(dir); err != nil {
		t.Error("a reader beside a writer:", err)
	}
	a := open(t, dir)
	for _, err := range a.Read(ctx, audit.Range{Follow: true}) {
		if !errors.Is(err, archive.ErrFollow) {
			t.Errorf("follow: %v", err)
		}
	}
	a.Close()
	if _, err := a.Span(ctx); !errors.Is(err, archive.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
