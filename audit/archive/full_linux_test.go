package archive_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
)

// A disk that is full, in the middle of a block, of a segment or of the manifest, loses
// nothing of what was archived; when there is room the same writer goes on, and another one too.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	for _, kilobytes := range []string{"128k", "196k", "252k", "320k"} {
		t.Run(kilobytes, func(t *testing.T) {
			disk := t.TempDir()
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "mode=700,size="+kilobytes); err != nil {
				t.Skipf("no small file system can be mounted: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
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
			if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
				t.Fatal(err)
			}
			if kilobytes == "196k" {
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
