package sim

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// trace remembers what happened last, and a sum of all of it.
type trace struct {
	step  int
	lines [traceLines]line
	next  int
	sum   uint64
}

const traceLines = 120

type line struct {
	step int
	at   time.Duration
	who  string
	what string
	how  string
	n    uint64
}

func (l line) String() string {
	text := fmt.Sprintf("%4d %12v  %-7s %s %s", l.step, l.at, l.who, l.what, l.how)
	if l.n > 0 {
		text += fmt.Sprint(" ", l.n)
	}
	return text
}

// note adds a line.
func (w *world) note(who, what, how string, n uint64) {
	t := &w.trace
	l := line{t.step, time.Since(w.began), who, what, how, n}
	t.lines[t.next%traceLines] = l
	t.next++
	const prime = 1099511628211
	add := func(s string) {
		for i := range len(s) {
			t.sum = (t.sum ^ uint64(s[i])) * prime
		}
		t.sum = (t.sum ^ 0xff) * prime
	}
	add(who)
	add(what)
	add(how)
	t.sum = (t.sum ^ uint64(l.at)) * prime
	t.sum = (t.sum ^ n) * prime
	if w.loud {
		fmt.Fprintln(os.Stderr, l)
	}
}

func (w *world) noteOperation(o *operation, f fate) { w.note(o.link.name, o.kind, string(f), 0) }

func (w *world) noteStored(k kept) {
	what := "stored " + string(k.Fact.Kind)
	if k.Fact.Kind == registry.KindService {
		what += " " + k.Fact.Service.Name
	}
	if k.Fact.Name != "" {
		what += " " + k.Fact.Name
	}
	how := fmt.Sprintf("%d-%d", k.Epoch-min(k.Epoch, uint64(w.began.Unix())), k.Revision)
	if k.Refused != nil {
		how += " refused " + k.Refused.Reason
	} else if k.Event.Service != nil {
		how += fmt.Sprintf(" %s %d instances", k.Event.Cause, k.Event.Service.Total)
	}
	w.note(string(k.Fact.Writer), what, how, k.Sequence)
}

// last returns the last lines.
func (t *trace) last() string {
	var b strings.Builder
	for n := max(0, t.next-traceLines); n < t.next; n++ {
		fmt.Fprintln(&b, t.lines[n%traceLines])
	}
	return b.String()
}
