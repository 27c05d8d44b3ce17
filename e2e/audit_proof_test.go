package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// TestAuditProof verifies what a real mesh wrote, with an account that may only read, and
// against a checkpoint; and then what somebody else wrote among it.
func TestAuditProof(t *testing.T) {
	together(t)
	p := livePast(t)
	out, _ := p.audit(t, "verify")
	for _, part := range []string{"amber", "bronze", "intact", "nothing is missing, altered, reordered or inserted"} {
		if !strings.Contains(out, part) {
			t.Errorf("verify lacks %q:\n%s", part, out)
		}
	}
	checkpoint := filepath.Join(p.dir, "checkpoint.json")
	p.audit(t, "checkpoint", checkpoint)
	if _, said, code := p.try(t, "audit", "checkpoint", checkpoint); code != 1 || !strings.Contains(said, "never overwritten") {
		t.Errorf("a checkpoint over another one exits with %d: %s", code, said)
	}
	if out, _ := p.audit(t, "verify", "--checkpoint", checkpoint); !strings.Contains(out, "met") {
		t.Errorf("verify does not meet the checkpoint:\n%s", out)
	}
	p.garbage(t)
	out, said, code := p.try(t, "audit", "verify", "--checkpoint", checkpoint)
	if code != 1 || !strings.Contains(out, "NOT INTACT") || !strings.Contains(out, "met") || !strings.Contains(said, "not intact") {
		t.Errorf("verify of a history with garbage exits with %d: %s%s", code, out, said)
	}
	if _, said, code := p.try(t, "audit", "checkpoint", filepath.Join(p.dir, "another.json")); code != 1 || !strings.Contains(said, "verify tells what is wrong") {
		t.Errorf("a checkpoint of a history with garbage exits with %d: %s", code, said)
	}
	p.audit(t, "verify", "--cluster", "bronze")
	p.purge(t)
	out, said, code = p.try(t, "audit", "verify", "--checkpoint", checkpoint)
	if code != 1 || !strings.Contains(out, "gone") || !strings.Contains(out, "missing") || !strings.Contains(said, "not intact") {
		t.Errorf("verify of a history that was purged exits with %d: %s%s", code, out, said)
	}
}

// purge lowers the age of the stream for a moment: nothing of what was is left.
func (p *past) purge(t *testing.T) {
	t.Helper()
	conn := p.connection(t.Context(), t)
	defer conn.Close()
	js := jetStream(t, conn)
	now := openStream(t, js, stream.EventsStream).CachedInfo()
	before, last := now.Config, now.State.LastSeq
	short := before
	short.MaxAge, short.Duplicates = 100*time.Millisecond, 100*time.Millisecond
	if _, err := js.UpdateStream(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, 20*time.Second, "what was is purged", func() error {
		span, err := conn.History().Span(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if span.First <= last {
			return fmt.Errorf("%+v is there", span)
		}
		return nil
	})
	if _, err := js.UpdateStream(t.Context(), before); err != nil {
		t.Fatal(err)
	}
}
