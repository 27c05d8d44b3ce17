package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// figure is one line of the table.
type figure struct {
	Name    string   `json:"name"`
	Value   string   `json:"value"` // for people
	Target  string   `json:"target,omitempty"`
	Reached *bool    `json:"reached,omitempty"` // nil: there is nothing to reach
	Number  *float64 `json:"number,omitempty"`
	Times   *summary `json:"times,omitempty"`
}

// grid is a table of its own, below the figures.
type grid struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

// result is what one measurement found.
type result struct {
	Name       string            `json:"name"`
	About      string            `json:"about"`
	Began      time.Time         `json:"began"`
	Seconds    float64           `json:"seconds"`
	Machine    string            `json:"machine"`
	Versions   map[string]string `json:"versions"`
	Commit     string            `json:"commit"`
	LoadBefore string            `json:"load_before"` // load averages of 1, 5 and 15 minutes
	LoadAfter  string            `json:"load_after"`
	IdleBefore string            `json:"idle_before"`        // share of the processors' time in the second before
	Niceness   int               `json:"niceness,omitempty"` // of all that was started; the usual is 0
	Held       string            `json:"held,omitempty"`
	Quick      bool              `json:"quick,omitempty"`
	Figures    []figure          `json:"figures"`
	Grid       *grid             `json:"grid,omitempty"`
	Notes      []string          `json:"notes,omitempty"`
}

// times adds a distribution. Reached is nil where there is no target.
func (r *result) times(name string, s samples, target string, reached func(summary) bool) summary {
	sum := s.summarize()
	f := figure{Name: name, Value: sum.String(), Target: target, Times: &sum}
	if reached != nil {
		ok := sum.Count > 0 && reached(sum)
		f.Reached = &ok
	}
	r.Figures = append(r.Figures, f)
	return sum
}

// number adds one number, with its unit as part of the format.
func (r *result) number(name, format string, n float64, target string, reached func(float64) bool) {
	f := figure{Name: name, Value: fmt.Sprintf(format, n), Target: target, Number: &n}
	if reached != nil {
		ok := reached(n)
		f.Reached = &ok
	}
	r.Figures = append(r.Figures, f)
}

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func atMost[N int | float64](most N) func(N) bool   { return func(n N) bool { return n <= most } }
func atLeast[N int | float64](least N) func(N) bool { return func(n N) bool { return n >= least } }

// p99Within reports whether 99 % are within so many milliseconds.
func p99Within(most float64) func(summary) bool { return func(s summary) bool { return s.P99 <= most } }

// table is one table with the figures of all results.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| measurement | figure | value | to reach | reached |\n|---|---|---|---|---|\n")
	for _, r := range results {
		for _, f := range r.Figures {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Name, f.Name, f.Value, f.Target, f.reached())
		}
	}
	for _, r := range results {
		if r.Grid != nil {
			fmt.Fprintf(&b, "\n%s:\n\n%s", r.Name, r.Grid)
		}
	}
	return b.String()
}

func (f figure) reached() string {
	switch {
	case f.Reached == nil:
		return ""
	case *f.Reached:
		return "yes"
	}
	return "**no**"
}

func (g *grid) String() string {
	var b strings.Builder
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(g.Head)
	b.WriteString(strings.Repeat("|---", len(g.Head)) + "|\n")
	for _, cells := range g.Rows {
		row(cells)
	}
	return b.String()
}

// page is the result as a page of Markdown.
func (r result) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n", r.Name, strings.ToUpper(r.About[:1])+r.About[1:])
	if r.Quick {
		b.WriteString("**A quick run: too few samples to say how fast it is.**\n\n")
	}
	if r.Held != "" {
		fmt.Fprintf(&b, "**A check of the measurement: the way was held back by %s.**\n\n", r.Held)
	}
	b.WriteString("| figure | value | to reach | reached |\n|---|---|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Name, f.Value, f.Target, f.reached())
	}
	if r.Grid != nil {
		fmt.Fprintf(&b, "\n%s", r.Grid)
	}
	if len(r.Notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	fmt.Fprintf(&b, "\n%s, commit %s, %.0f s. Just before, the processors were idle for %s of the time; load average before %s, after %s.\n",
		r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Commit, r.Seconds, r.IdleBefore, r.LoadBefore, r.LoadAfter)
	if r.Niceness != 0 {
		fmt.Fprintf(&b, "Everything that was measured ran with niceness %d, before what else the machine had to do.\n", r.Niceness)
	}
	fmt.Fprintf(&b, "%s; %s.\n", r.Machine, versionList(r.Versions))
	return b.String()
}

// write keeps the page and the JSON in dir; each appears whole or not at all.
func (r result) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{r.Name + ".md": r.page(), r.Name + ".json": string(text) + "\n"} {
		next := filepath.Join(dir, name+".tmp")
		if err := os.WriteFile(next, []byte(content), 0o644); err != nil {
			return err
		}
		if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
