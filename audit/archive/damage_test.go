package archive_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/registry"
)

// damagedArchive makes an archive of three segments and a tail.
func damagedArchive(t *testing.T) (dir string, h *memory) {
	t.Helper()
	ctx, dir := start(t)
	h = &memory{}
	h.add(history(1, 5200, 20)...)
	catchUp(t, ctx, dir, h, archive.Options{SegmentBytes: archive.MinSegmentBytes})
	h.add(history(5201, 50, 20)...)
	s := catchUp(t, ctx, dir, h, archive.Options{})
	if s.Segments < 3 {
		t.Fatalf("status %+v", s)
	}
	return dir, h
}

// Any byte that is altered, in any file: what is answered is right, what is not is told,
// and the next writer goes on.
func TestAnyByteAltered(t *testing.T) {
	whole, h := damagedArchive(t)
	ctx, root := t.Context(), t.TempDir()
	bySequence := map[uint64]registry.Stored{}
	for _, m := range h.messages {
		bySequence[m.Sequence] = m
	}
	files, _ := filepath.Glob(whole + "/*")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(file)
		if base == "lock" {
			continue
		}
		for range 12 {
			at := rand.IntN(len(content))
			if rand.IntN(2) == 0 { // more often in what is short: headers, index, footer
				at = max(0, len(content)-1-rand.IntN(min(len(content), 3000)))
			}
			t.Run(fmt.Sprintf("%s %d", base, at), func(t *testing.T) {
				dir := filepath.Join(root, "archive")
				defer os.RemoveAll(dir)
				if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				flip(t, filepath.Join(dir, base), int64(at))
				a, err := archive.Open(dir)
				if err != nil {
					if !errors.Is(err, archive.ErrVersion) {
						t.Fatal(err)
					}
					return
				}
				defer a.Close()
				got := read(t, a.Read(ctx, audit.Range{}))
				for _, m := range got {
					equal(t, "one", []registry.Stored{m}, []registry.Stored{bySequence[m.Sequence]})
				}
				read(t, a.Latest(ctx, 6000))
				wrong, err := a.Verify(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) < len(h.messages)-3000 || len(wrong)+len(a.Faults()) == 0 && strings.HasSuffix(base, ".segment") || len(got) < len(h.messages) && len(a.Faults()) == 0 && !strings.HasSuffix(base, ".tail") {
					t.Errorf("%d of %d messages, wrong %v, faults %v", len(got), len(h.messages), wrong, a.Faults())
				}
				w, err := archive.NewWriter(dir, archive.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				if err := w.CatchUp(ctx, h, nil); err != nil {
					t.Errorf("the next writer: %v, status %+v", err, w.Status())
				}
			})
		}
	}
}

// A manifest that is lost or cut is made anew; a segment that is lost is told.
func TestFilesLost(t *testing.T) {
	whole, h := damagedArchive(t)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		lose func(dir string) error
		say  string
		all  bool
	}{
		"no manifest":   {func(dir string) error { return os.Remove(dir + "/manifest") }, "made anew", true},
		"half manifest": {func(dir string) error { return os.Truncate(dir+"/manifest", 300) }, "made anew", true},
		"no index":      {func(dir string) error { return cutTail(dir+"/00000002.segment", 4000) }, "00000002.segment", false},
		"no segment":    {func(dir string) error { return os.Remove(dir + "/00000002.segment") }, "is missing", false},
		"empty segment": {func(dir string) error { return os.Truncate(dir+"/00000002.segment", 0) }, "00000002.segment", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "archive")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := tt.lose(dir); err != nil {
				t.Fatal(err)
			}
			a := open(t, dir)
			defer a.Close()
			got := read(t, a.Read(ctx, audit.Range{}))
			if said := fmt.Sprint(a.Faults()); !strings.Contains(said, tt.say) {
				t.Errorf("faults %s, want one that says %q", said, tt.say)
			}
			if full := len(got) == len(h.messages); full != tt.all || len(got) < 3000 {
				t.Errorf("%d of %d messages", len(got), len(h.messages))
			}
			if tt.all {
				alike(t, ctx, a, h, rand.New(rand.NewPCG(1, 2)).IntN)
			}
			// whatever is lost: together with the stream nothing is
			alike(t, ctx, archive.Join(a, h), h, rand.New(rand.NewPCG(1, 3)).IntN)
			s := catchUp(t, ctx, dir, h, archive.Options{})
			if s.Last != 5250 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func cutTail(path string, bytes int64) error {
	about, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, about.Size()-bytes)
}

// A folder that can't be written is told, and one that can again goes on.
func TestReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		// root may write everywhere: a folder takes the place of what is written instead
		dir, h := damagedArchive(t)
		if err := os.Mkdir(dir+"/manifest.tmp", 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.NewWriter(dir, archive.Options{}); err == nil || !strings.Contains(err.Error(), "manifest") {
			t.Errorf("got %v", err)
		}
		if err := os.Remove(dir + "/manifest.tmp"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		catchUp(t, t.Context(), dir, h, archive.Options{})
		return
	}
	dir, _ := damagedArchive(t)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if _, err := archive.NewWriter(dir, archive.Options{}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
	open(t, dir).Close()
}

// FuzzSegment reads altered segments: it never panics, and what is read is bounded and ascending.
func FuzzSegment(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "archive")
	h := &memory{}
	h.add(history(1, 40, 5)...)
	catchUp(f, f.Context(), dir, h, archive.Options{SegmentAge: 20e9})
	for _, file := range []string{"00000001.segment", "00000002.segment"} {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, false)
		f.Add(content, true)
		f.Add(content[:len(content)/2], true)
	}
	f.Add([]byte("SEAMARKA"), true)
	manifest, err := os.ReadFile(dir + "/manifest")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte, listed bool) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "00000001.segment"), content, 0o600)
		os.WriteFile(filepath.Join(dir, "00000001.tail"), content, 0o600)
		if listed {
			os.WriteFile(filepath.Join(dir, "manifest"), manifest, 0o600)
		}
		a, err := archive.Open(dir)
		if err != nil {
			return
		}
		defer a.Close()
		last := uint64(0)
		for m, err := range a.Read(t.Context(), audit.Range{}) {
			if err != nil {
				break
			}
			if m.Sequence <= last {
				t.Fatalf("#%d after #%d", m.Sequence, last)
			}
			last = m.Sequence
		}
		for _, filter := range []string{">", "mesh.v1.*.svc.shop.service-1"} {
			for _, err := range a.Latest(t.Context(), last+1, filter) {
				if err != nil {
					break
				}
			}
		}
		a.SequenceAt(t.Context(), origin)
		a.Verify(t.Context(), nil)
	})
}

// Blocks of any messages come out as they went in, through the index too.
func TestManySubjects(t *testing.T) {
	ctx, dir := start(t)
	rapid.Check(t, func(t *rapid.T) {
		defer os.RemoveAll(dir)
		h := &memory{}
		for n := range uint64(rapid.IntRange(1, 1200).Draw(t, "count")) {
			h.add(registry.Stored{Sequence: n + 1, Time: origin, Subject: fmt.Sprintf("s.%d.%d", n%7, n), Body: []byte{byte(n)}})
		}
		catchUp(t, ctx, dir, h, archive.Options{})
		a := open(t, dir)
		defer a.Close()
		var names []string
		for range 50 {
			names = append(names, h.messages[rapid.IntRange(0, len(h.messages)-1).Draw(t, "subject")].Subject)
		}
		before := uint64(rapid.IntRange(0, 1300).Draw(t, "before"))
		equal(t, "latest", read(t, a.Latest(ctx, before, names...)), read(t, h.Latest(ctx, before, names...)))
	})
}
