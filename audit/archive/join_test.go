package archive_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/registry"
)

// Archive and stream as one are the whole history, wherever either begins and ends.
func TestJoinEqualsHistory(t *testing.T) {
	root := t.TempDir()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		dir := filepath.Join(root, "archive")
		defer os.RemoveAll(dir)
		whole := anyMessages(t, 3, "messages")
		cut := func(label string, from int) int { return rapid.IntRange(from, len(whole)).Draw(t, label) }
		kept := cut("kept", 0)
		begins := cut("begins", 0)
		stream := &memory{messages: whole}
		catchUp(t, ctx, dir, &memory{messages: whole[:kept]}, archive.Options{SegmentAge: 50 * time.Second})
		if len(whole) > 0 && begins > 0 {
			stream = &memory{messages: whole[begins:], first: whole[begins-1].Sequence + 1}
		}
		want := &memory{messages: whole}
		if begins > kept {
			want.messages = append(append([]registry.Stored(nil), whole[:kept]...), whole[begins:]...)
		}
		a := open(t, dir)
		defer a.Close()
		if len(want.messages) > 0 {
			alike(t, ctx, archive.Join(a, stream), want, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		}
	})
}

// A stream made anew with later sequences continues what was archived of the former one.
func TestJoinStreamMadeAnew(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 3000, 20)...)
	catchUp(t, ctx, dir, h, archive.Options{SegmentBytes: archive.MinSegmentBytes})
	anew := &memory{first: 10_000}
	a := open(t, dir)
	j := archive.Join(a, anew)
	alike(t, ctx, j, h, rand.New(rand.NewPCG(1, 2)).IntN)
	anew.add(history(10_000, 500, 30)...)
	both := &memory{messages: append(append([]registry.Stored(nil), h.messages...), anew.messages...)}
	alike(t, ctx, j, both, rand.New(rand.NewPCG(1, 2)).IntN)
	s := catchUp(t, ctx, dir, anew, archive.Options{})
	if len(s.Gaps) != 1 || s.Gaps[0].First != 3001 || s.Gaps[0].Last != 9999 {
		t.Errorf("gaps %+v", s.Gaps)
	}
	alike(t, ctx, j, both, rand.New(rand.NewPCG(3, 2)).IntN)
	alike(t, ctx, a, both, rand.New(rand.NewPCG(4, 2)).IntN)
	if got := j.Faults(); len(got) != 1 {
		t.Errorf("faults %v", got)
	}
}

// What is damaged in the archive is read from the stream, which still has it.
func TestJoinHealsFromStream(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 6000, 20)...)
	catchUp(t, ctx, dir, h, archive.Options{SegmentBytes: archive.MinSegmentBytes})
	files, _ := filepath.Glob(dir + "/*.segment")
	if len(files) < 3 {
		t.Fatal(files)
	}
	flip(t, files[0], 2000)
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir)
	j := archive.Join(a, h)
	alike(t, ctx, j, h, rand.New(rand.NewPCG(1, 2)).IntN)
	equal(t, "all", read(t, j.Read(ctx, audit.Range{})), h.messages)
	alike(t, ctx, j, h, rand.New(rand.NewPCG(2, 2)).IntN)
	if len(a.Faults()) < 2 {
		t.Errorf("faults %v", a.Faults())
	}
}

// It follows across the seam.
func TestJoinFollows(t *testing.T) {
	ctx, dir := start(t)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h := &memory{}
	h.add(history(1, 1000, 20)...)
	catchUp(t, ctx, dir, h, archive.Options{})
	h.add(history(1001, 100, 20)...)
	h.drop(900)
	next := uint64(500)
	for m, err := range archive.Join(open(t, dir), h).Read(ctx, audit.Range{From: 500, Follow: true}) {
		if err != nil {
			break
		}
		if m.Sequence != next {
			t.Fatalf("#%d, want #%d", m.Sequence, next)
		}
		switch next++; next {
		case 1101:
			go h.add(history(1101, 100, 20)...)
		case 1201:
			stop()
		}
	}
	if next != 1201 {
		t.Errorf("it ended before #%d", next)
	}
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[(offset+int64(len(content)))%int64(len(content))] ^= 0x41
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Nobody was told of what neither the archive nor the stream has.
func TestJoinTellsOfHoles(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 6000, 20)...)
	catchUp(t, ctx, dir, h, archive.Options{SegmentBytes: archive.MinSegmentBytes})
	h.add(history(6001, 100, 20)...)
	h.drop(6051)
	catchUp(t, ctx, dir, h, archive.Options{SegmentBytes: archive.MinSegmentBytes})
	h.add(history(6101, 100, 20)...)
	h.drop(6151)
	files, _ := filepath.Glob(dir + "/*.segment")
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir)
	defer a.Close()
	read(t, a.Read(ctx, audit.Range{}))
	kept, err := a.Span(ctx)
	if err != nil || len(kept.Holes) != 2 || kept.Holes[1] != [2]uint64{6001, 6050} || !slices.Equal(kept.Gone, kept.Holes[1:]) {
		t.Errorf("of the archive %+v, %v", kept, err)
	}
	both, err := archive.Join(a, h).Span(ctx)
	if want := append(slices.Clone(kept.Holes), [2]uint64{6101, 6150}); err != nil || !slices.Equal(both.Holes, want) || !slices.Equal(both.Gone, want[1:]) {
		t.Errorf("of both %+v, %v; want %v", both, err, want)
	}
	whole := &memory{}
	whole.add(history(1, 6000, 20)...)
	whole.add(history(6001, 100, 20)...)
	if span, err := archive.Join(a, whole).Span(ctx); err != nil || len(span.Holes) > 0 || len(span.Gone) > 0 {
		t.Errorf("the stream has all of it: %+v, %v", span, err)
	}
}

// An archive was joined with whatever stream there was: the answers were of neither.
func TestJoinOfAnotherStreamIsRefused(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 100, 20)...)
	catchUp(t, ctx, dir, h, archive.Options{})
	a := open(t, dir)
	defer a.Close()
	short, other := &memory{}, &memory{}
	short.add(history(1, 50, 20)...)
	other.add(history(1, 99, 20)...)
	other.add(message(100, 19), message(101, 19))
	other.messages[99].Body = []byte("another")
	for name, stream := range map[string]*memory{"short": short, "other": other} {
		j := archive.Join(a, stream)
		if _, err := j.Span(ctx); !errors.Is(err, archive.ErrOtherStream) {
			t.Errorf("%s: %v", name, err)
		}
		for _, err := range j.Latest(ctx, 40) {
			if !errors.Is(err, archive.ErrOtherStream) {
				t.Errorf("%s: latest: %v", name, err)
			}
		}
	}
}
