package archive_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/e2e/servers"
)

// A disk that is full, in the middle of a block, of a segment or of the manifest, loses
// nothing of what was archived; when there is room the same writer goes on, and another one too.
func TestFullDisk(t *testing.T) {
	for _, kilobytes := range []int{128, 196, 252, 320} {
		t.Run(fmt.Sprint(kilobytes, "k"), func(t *testing.T) {
			disk := t.TempDir()
			resize := servers.SmallDisk(t, disk, kilobytes)
			dir, ctx := disk+"/archive", t.Context()
			h := &memory{}
			h.add(history(1, 8000, 50)...)
			o := archive.Options{SegmentBytes: archive.MinSegmentBytes}
			w, err := archive.NewWriter(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // and it stays full
				if err := w.CatchUp(ctx, h, nil); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("a full disk: %v", err)
				}
			}
			a := open(t, dir)
			defer a.Close()
			kept := read(t, a.Read(ctx, audit.Range{}))
			if len(kept) == 0 {
				t.Fatal("nothing was archived")
			}
			equal(t, "on the full disk", kept, h.messages[:len(kept)])
			resize(16 << 10)
			if kilobytes == 196 {
				w.Close()
				catchUp(t, ctx, dir, h, o)
			} else if err := errors.Join(w.CatchUp(ctx, h, nil), w.Close()); err != nil {
				t.Fatalf("there is room again: %v", err)
			}
			alike(t, ctx, a, h, rand.New(rand.NewPCG(1, 2)).IntN)
			if wrong, err := a.Verify(ctx, nil); err != nil || len(wrong) > 0 || len(a.Gaps()) > 0 {
				t.Errorf("verify: %v %v, gaps %v", wrong, err, a.Gaps())
			}
		})
	}
}
