package auditing

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/seamark-mesh/seamark/audit"
)

// shownTime is how times stand in a report: UTC, with milliseconds.
const shownTime = "2006-01-02 15:04:05.000"

// Markdown writes the incident as one page.
func (i *Incident) Markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# What happened around %s", i.Around.Format(shownTime+" MST"))
	line("")
	line("From %s to %s, by the history of the mesh. All times are the stream's, in UTC.", i.From, i.To)
	line("")
	line("| what | how many |")
	line("|---|---|")
	for _, kind := range []audit.Kind{audit.Change, audit.Resync, audit.State, audit.Order, audit.Note, audit.Takeover, audit.Complete, audit.Unreadable} {
		line("| %s | %d |", kindText[kind], i.Counts[kind])
	}
	line("| daily repetitions (not shown below) | %d |", i.Counts[audit.Refresh])
	line("| services touched | %d |", i.Services)
	line("| of these, services whose answer became another one | %d |", i.Turned)
	line("")
	line("## Timeline")
	line("")
	i.timeline(line)
	line("")
	line("## Clusters, before and after")
	line("")
	i.standing(line)
	line("")
	line("## Answers, before and after")
	line("")
	i.answers(line)
	return b.String()
}

// kindText names what a kind of entry is, in a report.
var kindText = map[audit.Kind]string{
	audit.Change: "changes of registries and configurations", audit.Resync: "corrections by a comparison", audit.State: "transitions of clusters",
	audit.Order: "orders of operators", audit.Note: "notes (brakes, refusals)", audit.Takeover: "takeovers by agents",
	audit.Complete: "marks of completeness", audit.Unreadable: "messages that nobody can read",
}

func (i *Incident) timeline(line func(string, ...any)) {
	if len(i.Entries) == 0 {
		line("Nothing happened.")
		return
	}
	line("| time | # | kind | cluster | who | what |")
	line("|---|---|---|---|---|---|")
	for _, e := range i.Entries {
		who := e.By
		if who == "" {
			who = e.Agent
		}
		what := e.About
		if e.Reason != "" && !strings.Contains(what, e.Reason) {
			what += " (" + e.Reason + ")"
		}
		line("| %s | %d | %s | %s | %s | %s |", e.Stored.UTC().Format("15:04:05.000"), e.Sequence, e.Kind, cell(string(e.Cluster)), cell(who), cell(what))
	}
	if i.More > 0 {
		line("")
		line("These are the nearest to the moment; %d more are left out: `seamark audit log --since '#%d' --until '#%d'` shows them all.", i.More, i.From.Sequence+1, i.To.Sequence)
	}
}

func (i *Incident) standing(line func(string, ...any)) {
	line("| cluster | before | after | orders after |")
	line("|---|---|---|---|")
	for _, after := range i.After {
		was := "not known"
		if n := slices.IndexFunc(i.Before, func(c Cluster) bool { return c.Cluster == after.Cluster }); n >= 0 {
			was = stateText(i.Before[n])
		}
		var orders []string
		for _, o := range after.Orders {
			orders = append(orders, fmt.Sprintf("%s of %s by %s since %s: %s", o.Kind, o.Target, o.By, o.Since.Format(time.TimeOnly), o.Reason))
		}
		line("| %s | %s | %s | %s |", after.Cluster, was, stateText(after), cell(strings.Join(orders, "; ")))
	}
}

func stateText(c Cluster) string {
	text := string(c.State)
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	return cell(fmt.Sprintf("%s; %d services, %d instances", text, c.Services, c.Instances))
}

func (i *Incident) answers(line func(string, ...any)) {
	if len(i.Touched) == 0 {
		line("No service was touched.")
		return
	}
	line("| service | before | then | why, at the end |")
	line("|---|---|---|---|")
	for _, t := range i.Touched {
		var why []string
		for _, w := range t.Why {
			sign := "out"
			if w.In {
				sign = "in"
			}
			why = append(why, fmt.Sprintf("%s %s: %s", w.Cluster, sign, w.Reason))
		}
		turns := make([]string, 0, len(t.Answers))
		for _, turn := range t.Answers {
			turns = append(turns, fmt.Sprintf("%s (#%d): %s", turn.At.Time.UTC().Format("15:04:05.000"), turn.At.Sequence, strings.Join(turn.Addresses, ", ")))
		}
		then := strings.Join(turns, "; ")
		switch {
		case t.Turns == 0:
			then = "the same all the time"
		case t.Turns > len(turns):
			then += fmt.Sprintf("; the nearest of %d turns; at the end: %s", t.Turns, strings.Join(t.After, ", "))
		}
		line("| %s | %s | %s | %s |", cell(t.Service.String()), cell(strings.Join(t.Before, ", ")), cell(then), cell(strings.Join(why, "; ")))
	}
	if i.Services > len(i.Touched) {
		line("")
		line("%d more services were touched.", i.Services-len(i.Touched))
	}
}

// cell keeps what others wrote from being more than the text of a cell.
func cell(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'", "[", `\[`, "]", `\]`).Replace(s)
}
