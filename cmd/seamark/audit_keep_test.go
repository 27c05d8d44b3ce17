package main

import (
	"bytes"
	"context"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/export"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

// held is a history of which the source knows what is gone.
type held struct {
	messages []registry.Stored
	gone     [][2]uint64
}

func (h held) Span(context.Context) (audit.Span, error) {
	first, last := h.messages[0], h.messages[len(h.messages)-1]
	return audit.Span{First: first.Sequence, Last: last.Sequence, Begin: first.Time, End: last.Time, Began: 1, Gone: h.gone}, nil
}

func (h held) SequenceAt(context.Context, time.Time) (uint64, error) {
	return h.messages[0].Sequence, nil
}

func (h held) Read(context.Context, audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for _, m := range h.messages {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (h held) Latest(ctx context.Context, _ uint64, _ ...string) iter.Seq2[registry.Stored, error] {
	return h.Read(ctx, audit.Range{})
}

// exported writes an export of ten messages, without the fifth.
func exported(t *testing.T, gone [][2]uint64) string {
	t.Helper()
	h := held{gone: gone}
	for n := uint64(1); n <= 10; n++ {
		if n != 5 {
			h.messages = append(h.messages, registry.Stored{Sequence: n, Time: time.Unix(1_800_000_000+int64(n), 0).UTC(), Subject: "elsewhere.x", Body: []byte("x")})
		}
	}
	path := filepath.Join(t.TempDir(), "export.jsonl")
	if _, err := export.WriteFile(t.Context(), path, h, export.Options{Format: export.JSONL}); err != nil {
		t.Fatal(err)
	}
	return path
}

func execute(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	code = proc.Execute(t.Context(), newCommand(nil), arguments, &out, &said)
	return code, out.String(), said.String()
}

// What had aged out before it was archived was a fault in an export of the archive.
func TestVerifyOfAnExportKnowsWhatIsGone(t *testing.T) {
	t.Parallel()
	if code, out, said := execute(t, "audit", "verify", "--from-file", exported(t, [][2]uint64{{5, 5}})); code != 0 || !strings.Contains(out, "#5–#5 had aged out") {
		t.Errorf("with an honest gap it exits with %d: %s%s", code, out, said)
	}
	if code, out, said := execute(t, "audit", "verify", "--from-file", exported(t, nil)); code != 1 || !strings.Contains(out, "#5 missing") {
		t.Errorf("with a message that is missing it exits with %d: %s%s", code, out, said)
	}
}

// An export that was altered was shown as if nothing were wrong.
func TestImportOfADamagedExportFails(t *testing.T) {
	t.Parallel()
	path := exported(t, nil)
	if code, out, said := execute(t, "audit", "import", path); code != 0 || !strings.Contains(out, "#10") || said != "" {
		t.Errorf("of a whole one it exits with %d: %s%s", code, out, said)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string]string{
		"altered": strings.Replace(string(text), `"body":"x"`, `"body":"y"`, 1), "cut": string(text[:len(text)-200]),
	} {
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, said := execute(t, "audit", "import", path)
		if code != 1 || !strings.Contains(out, "#1") || !strings.Contains(said, "damaged: ") || !strings.Contains(said, "export it again") {
			t.Errorf("%s: it exits with %d: %s%s", name, code, out, said)
		}
	}
}
