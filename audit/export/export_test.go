package export_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/export"
	"github.com/seamark-mesh/seamark/registry"
)

type require interface {
	Helper()
	Fatalf(format string, detail ...any)
}

func read(t require, messages iter.Seq2[registry.Stored, error]) list {
	t.Helper()
	var out list
	for m, err := range messages {
		if err != nil {
			t.Fatalf("after %d messages: %v", len(out), err)
		}
		out = append(out, m)
	}
	return out
}

func equal(t require, what string, got, want list) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d messages, want %d", what, len(got), len(want))
	}
	for n, m := range got {
		w := want[n]
		headers := maps.EqualFunc(m.Header, w.Header, func(a, b []string) bool { return slices.Equal(a, b) })
		if m.Sequence != w.Sequence || !m.Time.Equal(w.Time) || m.Subject != w.Subject || !bytes.Equal(m.Body, w.Body) || !headers {
			t.Fatalf("%s: message %d is\n%+v, want\n%+v", what, n, m, w)
		}
	}
}

// alike asks an export and what it was made of the same questions.
func alike(t require, ctx context.Context, f *export.File, want list, random func(int) int) {
	t.Helper()
	span, err := f.Span(ctx)
	if expected, _ := want.Span(ctx); err != nil || !reflect.DeepEqual(span, expected) {
		t.Fatalf("span %+v, %v; want %+v", span, err, expected)
	}
	for range 10 {
		r := audit.Range{From: uint64(random(int(span.Last) + 3)), To: uint64(random(int(span.Last) + 3)), Filter: filters[random(len(filters))]}
		equal(t, fmt.Sprintf("%+v", r), read(t, f.Read(ctx, r)), read(t, want.Read(ctx, r)))
		equal(t, fmt.Sprintf("latest %+v", r), read(t, f.Latest(ctx, r.From, r.Filter...)), read(t, want.Latest(ctx, r.From, r.Filter...)))
		at := origin.Add(-1 + 1e9*1)
		sequence, _ := f.SequenceAt(ctx, at)
		if right, _ := want.SequenceAt(ctx, at); sequence != right {
			t.Fatalf("sequence at %v: %d, want %d", at, sequence, right)
		}
	}
}

var lossless = []export.Format{export.JSONL, export.CloudEvents, export.CloudBatch}

// What goes in comes out, from a file that was written at once or in pieces that were
// cut anywhere.
func TestExportEqualsHistory(t *testing.T) {
	root := t.TempDir()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom(lossless).Draw(t, "format")
		h := anyMessages(t)
		path := filepath.Join(root, "export")
		defer os.Remove(path)
		var whole bytes.Buffer
		o := export.Options{Format: format}
		s, err := export.Write(ctx, &whole, h, o)
		if err != nil {
			t.Fatal(err)
		}
		if s.Messages != uint64(len(h)) || s.Bytes != int64(whole.Len()) || len(s.SHA256) != 64 {
			t.Fatalf("summary %+v", s)
		}
		for range rapid.IntRange(1, 3).Draw(t, "cuts") {
			if err := os.WriteFile(path, whole.Bytes()[:rapid.IntRange(0, whole.Len()).Draw(t, "cut")], 0o600); err != nil {
				t.Fatal(err)
			}
			again, err := export.WriteFile(ctx, path, h, o)
			if err != nil {
				t.Fatal(err)
			}
			if again.Resumed = s.Resumed; again != s {
				t.Fatalf("summary %+v, want %+v", again, s)
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, whole.Bytes()) {
				t.Fatalf("another file:\n%s\nwant\n%s", got, whole.Bytes())
			}
		}
		f, err := export.Open(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if faults := f.Faults(); len(faults) > 0 {
			t.Fatal(faults)
		}
		alike(t, ctx, f, h, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		for line := range strings.Lines(whole.String()) {
			if format == export.CloudBatch {
				break
			}
			if !json.Valid([]byte(line)) {
				t.Fatalf("no JSON: %s", line)
			}
		}
		if format == export.CloudBatch && !json.Valid(whole.Bytes()) {
			t.Fatalf("no JSON: %s", whole.Bytes())
		}
	})
}

// A file that was altered or cut: the line is told, and the rest is answered.
func TestAlteredFileIsTold(t *testing.T) {
	h := plain(100)
	lines := func(format export.Format) [][]byte {
		var whole bytes.Buffer
		if _, err := export.Write(t.Context(), &whole, h, export.Options{Format: format}); err != nil {
			t.Fatal(err)
		}
		return bytes.SplitAfter(whole.Bytes(), []byte("\n"))
	}
	tests := map[string]struct {
		change func([][]byte) [][]byte
		say    string
		left   int
	}{
		"a body is altered":       {func(l [][]byte) [][]byte { l[17] = bytes.Replace(l[17], []byte("i-16"), []byte("i-99"), 1); return l }, "line 18", 99},
		"a time is altered":       {func(l [][]byte) [][]byte { l[17] = bytes.Replace(l[17], []byte("12:00"), []byte("12:01"), 1); return l }, "line 18", 99},
		"a line is gone":          {func(l [][]byte) [][]byte { return slices.Delete(l, 17, 18) }, "1 of 100 messages are missing", 99},
		"a line is moved":         {func(l [][]byte) [][]byte { l[17], l[50] = l[50], l[17]; return l }, "line 19", 67},
		"a line is doubled":       {func(l [][]byte) [][]byte { return slices.Insert(l, 17, l[16]) }, "line 18", 100},
		"a line is no JSON":       {func(l [][]byte) [][]byte { l[17] = []byte("nonsense\n"); return l }, "line 18", 99},
		"the end is cut":          {func(l [][]byte) [][]byte { return l[:51] }, "ends with line 51", 50},
		"a line is cut":           {func(l [][]byte) [][]byte { return append(l[:50:50], l[50][:30]) }, "line 51 was not written to its end", 49},
		"the last line is gone":   {func(l [][]byte) [][]byte { return l[:101] }, "ends with line 101", 100},
		"something stands behind": {func(l [][]byte) [][]byte { return append(l, l[1]) }, "line 103", 100},
		"the digest is altered": {func(l [][]byte) [][]byte {
			l[101] = bytes.Replace(l[101], []byte(`sha256":"`), []byte(`sha256":"0`), 1)
			return l
		}, "SHA-256", 100},
		"a line is emptied": {func(l [][]byte) [][]byte { l[17] = []byte("\n"); return l }, "line 18", 99},
		"the first line's version": {func(l [][]byte) [][]byte {
			l[0] = bytes.Replace(l[0], []byte(`_export":1`), []byte(`_export":2`), 1)
			return l
		}, "version 2", -1},
		"the first line is gone": {func(l [][]byte) [][]byte { return l[1:] }, "first line", -1},
		"all is emptied":         {func([][]byte) [][]byte { return nil }, "first line", -1},
	}
	for name, tt := range tests {
		for _, format := range lossless {
			t.Run(name+" "+string(format), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "export")
				if err := os.WriteFile(path, bytes.Join(tt.change(lines(format)), nil), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := export.Open(t.Context(), path)
				if tt.left < 0 {
					if err == nil || !strings.Contains(err.Error(), tt.say) {
						t.Errorf("error %v, want one that says %q", err, tt.say)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				said := fmt.Sprint(f.Faults())
				if !strings.Contains(said, tt.say) {
					t.Errorf("faults %s, want one that says %q", said, tt.say)
				}
				if got := read(t, f.Read(t.Context(), audit.Range{})); len(got) != tt.left {
					t.Errorf("%d messages, want %d", len(got), tt.left)
				}
			})
		}
	}
}

// Something else is never overwritten.
func TestSomethingElseIsNotOverwritten(t *testing.T) {
	h := plain(50)
	path := filepath.Join(t.TempDir(), "export")
	o := export.Options{Format: export.JSONL}
	var whole bytes.Buffer
	if _, err := export.Write(t.Context(), &whole, h, o); err != nil {
		t.Fatal(err)
	}
	cut := whole.Bytes()[:whole.Len()/2]
	altered := bytes.Replace(cut, []byte("i-9"), []byte("i-8"), 1)
	filtered := o
	filtered.Range.Filter = []string{"a"}
	changed := slices.Clone(h)
	for n := range changed {
		changed[n].Body = []byte("other")
	}
	for name, tt := range map[string]struct {
		there   []byte
		history audit.History
		options export.Options
	}{
		"a text":                {[]byte("dear diary"), h, o},
		"lines":                 {[]byte("dear\ndiary\n"), h, o},
		"another format":        {cut, h, export.Options{Format: export.CloudEvents}},
		"another filter":        {cut, h, filtered},
		"another range":         {cut, h, export.Options{Format: export.JSONL, Range: audit.Range{From: 3}}},
		"altered":               {altered, h, o},
		"another history":       {cut, changed, o},
		"a history that is old": {cut, h[40:], o},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.there, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := export.WriteFile(t.Context(), path, tt.history, tt.options); !errors.Is(err, export.ErrOther) {
				t.Errorf("got %v", err)
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, tt.there) {
				t.Errorf("it was overwritten: %s", got)
			}
		})
	}
}

// An export that failed in the middle goes on; a whole one is left alone.
func TestResume(t *testing.T) {
	h := plain(3000)
	for _, format := range append(lossless, export.CSV) {
		path := filepath.Join(t.TempDir(), "export")
		var told []uint64
		o := export.Options{Format: format, Progress: func(s export.Summary) { told = append(told, s.Messages) }}
		s, err := export.WriteFile(t.Context(), path, failing{h, 1500}, o)
		if !errors.Is(err, errTest) || s.Messages != 1500 {
			t.Fatalf("%s: %+v, %v", format, s, err)
		}
		s, err = export.WriteFile(t.Context(), path, h, o)
		if err != nil || s.Messages != 3000 || s.Resumed != 1500 || s.First != 1 || s.Last != 3000 {
			t.Fatalf("%s: %+v, %v", format, s, err)
		}
		if !slices.Equal(told, []uint64{1000, 2000, 3000}) {
			t.Errorf("progress %v", told)
		}
		again, err := export.WriteFile(t.Context(), path, h, o)
		if s.Resumed = 3000; err != nil || again != s {
			t.Errorf("%s: %+v, want %+v, %v", format, again, s, err)
		}
	}
}

// CSV is what a spreadsheet can read, and no cell is a formula.
func TestCSV(t *testing.T) {
	var out bytes.Buffer
	h := append(plain(5), registry.Stored{Sequence: 9, Time: origin, Subject: "foreign\nline", Body: []byte("x")})
	if _, err := export.Write(t.Context(), &out, h, export.Options{Format: export.CSV}); err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(&out)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 7 || rows[0][0] != "sequence" || rows[1][9] != "'=cmd|x" || rows[2][14] != "i-1" || rows[6][2] != "foreign line" || rows[6][17] == "" {
		t.Errorf("rows %q", rows)
	}
	path := filepath.Join(t.TempDir(), "export.csv")
	if _, err := export.WriteFile(t.Context(), path, h, export.Options{Format: export.CSV}); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Open(t.Context(), path); !errors.Is(err, export.ErrNone) || !strings.Contains(err.Error(), "CSV") {
		t.Errorf("opened: %v", err)
	}
	if _, err := export.Write(t.Context(), io.Discard, h, export.Options{Format: "xml"}); err == nil || !strings.Contains(err.Error(), "jsonl") {
		t.Errorf("xml: %v", err)
	}
}

// lost is a list of which the source knows what is gone.
type lost struct {
	list
	gone [][2]uint64
}

func (l lost) Span(ctx context.Context) (audit.Span, error) {
	span, err := l.list.Span(ctx)
	span.Gone = l.gone
	return span, err
}

// A line that is passed over, or a gap of the source, left no trace in the span, and an
// export of some subjects looked like a whole history.
func TestSpanTellsWhatIsNotInTheFile(t *testing.T) {
	all := plain(30)
	write := func(o export.Options, h audit.History, change func([]byte) []byte) audit.Span {
		var out bytes.Buffer
		if _, err := export.Write(t.Context(), &out, h, o); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "export")
		if err := os.WriteFile(path, change(out.Bytes()), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := export.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		span, err := f.Span(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return span
	}
	same := func(b []byte) []byte { return b }
	o := export.Options{Format: export.JSONL}
	if s := write(o, all, same); len(s.Holes) > 0 || !s.Whole() {
		t.Errorf("of a whole file: %+v", s)
	}
	s := write(o, append(append(list(nil), all[:10]...), all[15:]...), func(b []byte) []byte {
		lines := bytes.SplitAfter(b, []byte("\n"))
		lines[5] = []byte("garbage\n")
		return bytes.Join(lines, nil)
	})
	if want := [][2]uint64{{5, 5}, {11, 15}}; !reflect.DeepEqual(s.Holes, want) {
		t.Errorf("the holes are %v, want %v", s.Holes, want)
	}
	for _, o.Format = range []export.Format{export.JSONL, export.CloudEvents, export.CloudBatch} {
		h := lost{append(append(list(nil), all[:10]...), all[15:]...), [][2]uint64{{1, 2}, {12, 14}, {99, 100}}} // the source knows that these had aged out
		if s := write(o, h, same); !reflect.DeepEqual(s.Holes, [][2]uint64{{11, 15}}) || !reflect.DeepEqual(s.Gone, [][2]uint64{{12, 14}}) {
			t.Errorf("%s: gone are %v of %v", o.Format, s.Gone, s.Holes)
		}
	}
	o.Format = export.JSONL
	o.Range.Filter = []string{"mesh.v1.a.svc.shop.s-0"}
	if s := write(o, all, same); s.Whole() || !s.Filtered {
		t.Errorf("of some subjects: %+v", s)
	}
}
