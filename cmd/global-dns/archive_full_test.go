package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// A full disk is told, loses nothing, and the archive goes on when there is room again.
func TestArchiveOnAFullDisk(t *testing.T) {
	disk := t.TempDir()
	resize := servers.SmallDisk(t, disk, 2<<10)
	_, c := streamtest.Streams(t)
	note(t, c, 0, 100)
	path := filepath.Join(disk, "archive")
	a, _, stop := startArchive(t, path, c)
	streamtest.Eventually(t, time.Minute, "what is there is archived", reaches(a, 100))
	if s, ok := a.status(); !ok || s.Sequence != 100 || s.Oldest.IsZero() || s.Bytes == 0 || s.Error != "" {
		t.Errorf("status %+v, %v", s, ok)
	}
	for n := range 64 {
		body := make([]byte, 64<<10) // that nothing makes shorter
		rand.Read(body)
		if _, err := c.NATS().RequestMsg(&nats.Msg{Subject: fmt.Sprintf("mesh.v1.amber.svc.shop.s-%d", n), Data: body}, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	streamtest.Eventually(t, time.Minute, "the disk is full", func() bool {
		s, _ := a.status()
		return strings.Contains(s.Error, "no space left")
	})
	kept, err := archive.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	some, all := everyMessage(t, kept), everyMessage(t, audit.OfStream(c))
	if len(some) < 100 || len(some) >= len(all) || fmt.Sprint(some) != fmt.Sprint(all[:len(some)]) {
		t.Errorf("on the full disk there are %d messages of %d", len(some), len(all))
	}
	resize(16 << 10)
	streamtest.Eventually(t, 2*time.Minute, "there is room and it goes on", func() bool {
		s, _ := a.status()
		return s.Sequence == 164 && s.Error == "" && s.Gaps == 0
	})
	stop()
	if got := everyMessage(t, kept); fmt.Sprint(got) != fmt.Sprint(all) {
		t.Errorf("the archive has %d messages, and they are not the stream's %d", len(got), len(all))
	}
}
