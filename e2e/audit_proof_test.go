package e2e

import (
	"path/filepath"
	"strings"
	"testing"
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
}
