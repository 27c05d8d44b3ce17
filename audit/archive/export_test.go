package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// ForgetJudged makes the first tail of a folder what older versions wrote.
func ForgetJudged(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, name(1, tailSuffix))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, begin, err := readHeader(bytes.NewReader(content))
	if err != nil || h.Judged == nil {
		t.Fatalf("%+v, %v", h, err)
	}
	h.Judged = nil
	head, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(head, content[begin:]...), 0o600); err != nil {
		t.Fatal(err)
	}
}
