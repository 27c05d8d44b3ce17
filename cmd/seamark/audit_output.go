package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

// auditFormat is how answers of the history are printed.
type auditFormat string

const (
	auditTable       auditFormat = "table"
	auditJSON        auditFormat = "json"
	auditYAML        auditFormat = "yaml"
	auditJSONL       auditFormat = "jsonl"
	auditCloudEvents auditFormat = "cloudevents"
	auditCSV         auditFormat = "csv"
)

var auditFormats = []auditFormat{auditTable, auditJSON, auditYAML, auditJSONL, auditCloudEvents, auditCSV}

// String, Set and Type implement pflag.Value.
func (f *auditFormat) String() string { return string(*f) }

// Set accepts one of the formats.
func (f *auditFormat) Set(s string) error {
	if !slices.Contains(auditFormats, auditFormat(s)) {
		return fmt.Errorf("use %s", f.Type())
	}
	*f = auditFormat(s)
	return nil
}

// Type names the value in the help.
func (f *auditFormat) Type() string { return "table|json|yaml|jsonl|cloudevents|csv" }

// only refuses formats that an answer can't have.
func (f auditFormat) only(allowed ...auditFormat) error {
	if slices.Contains(allowed, f) {
		return nil
	}
	names := make([]string, len(allowed))
	for n, a := range allowed {
		names[n] = string(a)
	}
	return proc.Usage(fmt.Errorf("this answer has no form %s: use -o %s", f, strings.Join(names, ", ")))
}

// whole are the formats of answers that are one thing, lists those of lists.
var (
	wholeFormats = []auditFormat{auditTable, auditJSON, auditYAML}
	listFormats  = []auditFormat{auditTable, auditJSON, auditYAML, auditJSONL, auditCSV}
)

// rows writes the rows of one table.
type rows func(row func(cells ...any))

// lineRows are lines below the tables; none where there is nothing to be said.
func lineRows(lines []string) []rows {
	if len(lines) == 0 {
		return nil
	}
	return []rows{func(row func(...any)) {
		for _, line := range lines {
			row(line)
		}
	}}
}

// print writes v, or with table some tables with a line between them.
func (f auditFormat) print(w io.Writer, v any, tables ...rows) error {
	if f == auditJSON || f == auditYAML {
		return format(f).print(w, v, nil)
	}
	for n, table := range tables {
		if n > 0 {
			fmt.Fprintln(w)
		}
		if err := asTable.print(w, nil, table); err != nil {
			return err
		}
	}
	return nil
}

// passedOver tells on stderr what an answer could not use; nil is nothing.
func passedOver(command *cobra.Command, u *auditing.Unused) {
	if u == nil {
		return
	}
	what := "1 fact the latest message"
	if u.Facts > 1 {
		what = fmt.Sprintf("%d facts the latest message", u.Facts)
	}
	fmt.Fprintf(command.ErrOrStderr(), "seamark: of %s can't be used, so that what stood before it counts; the first is #%d (%s: %s)\n", what, u.Sequence, u.Reason, printableCell(u.Detail))
}

// printLines writes values as JSON, one per line.
func printLines[T any](w io.Writer, values []T) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

// table is rows of a CSV file. Whatever a spreadsheet would take for a formula is told
// to be text.
type csvTable struct{ w *csv.Writer }

func newCSV(w io.Writer) csvTable { return csvTable{csv.NewWriter(w)} }

func (t csvTable) row(cells ...any) {
	texts := make([]string, len(cells))
	for n, c := range cells {
		if texts[n] = fmt.Sprint(c); strings.HasPrefix(texts[n], "=") || strings.HasPrefix(texts[n], "+") ||
			strings.HasPrefix(texts[n], "-") || strings.HasPrefix(texts[n], "@") {
			texts[n] = "'" + texts[n]
		}
	}
	_ = t.w.Write(texts) // its error is Flush's
}

func (t csvTable) flush() error {
	t.w.Flush()
	return t.w.Error()
}
