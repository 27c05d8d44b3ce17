package e2e

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

const auditPage = "../docs/audit.md"

// auditMark is a block of the page that is made by a test, and what makes it.
var auditMark = regexp.MustCompile("(?s)<!-- (audit: [^\n]*|incident|permissions|bytes) -->\n```text\n(.*?)```\n")

// documented holds the outputs of docs/audit.md to what the command says today: the same
// lines, but for times, numbers and names of hosts. With -update-docs it writes them anew.
func (p *past) documented(t *testing.T) {
	page := readText(t, auditPage)
	marks := auditMark.FindAllStringSubmatch(page, -1)
	if len(marks) < 9 {
		t.Errorf("%s has only %d outputs", auditPage, len(marks))
	}
	for _, mark := range marks {
		have, want := mark[2], p.output(t, mark[1])
		if *updateDocs {
			page = strings.Replace(page, mark[0], fmt.Sprintf("<!-- %s -->\n```text\n%s```\n", mark[1], want), 1)
			continue
		}
		if mark[1] == "bytes" {
			continue // the sizes of numbers and names are in it
		}
		if h, w := shape(have), shape(want); h != w {
			t.Errorf("%s: the document has\n%s\nthe command says\n%s\nas compared:\n%s\n%s", mark[1], have, want, h, w)
		}
	}
	if *updateDocs {
		if err := os.WriteFile(auditPage, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// output makes one block.
func (p *past) output(t *testing.T, mark string) string {
	t.Helper()
	switch mark {
	case "permissions":
		return "publish    " + strings.Join(stream.HistoryPermissions(), "\n           ") + "\nsubscribe  _INBOX.>\n"
	case "incident":
		out, _ := p.audit(t, "incident", "--around", p.moments["failed"])
		_, answers, _ := strings.Cut(out, "## Answers, before and after\n\n")
		return answers
	case "bytes":
		return p.bytesPerEvent(t)
	}
	line := strings.TrimPrefix(mark, "audit: ")
	for what, moment := range p.moments {
		line = strings.ReplaceAll(line, "{"+what+"}", moment)
	}
	out, said, code := p.try(t, append([]string{"audit"}, strings.Fields(line)...)...)
	if code != 0 && line != "verify" { // which finds what the test has put there
		t.Fatalf("seamark audit %s exits with %d: %s%s", line, code, out, said)
	}
	return "$ seamark audit " + line + "\n" + agentName.ReplaceAllStringFunc(out, func(name string) string {
		return fmt.Sprintf("%-*s", len(name), "host-1/4711/k3x9qa") // as wide as it was
	})
}

var (
	agentName = regexp.MustCompile(`[^\s/|]+/\d+/[a-z0-9-]{6,}\b`)
	instant   = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	digest    = regexp.MustCompile(`\b[0-9a-f]{8,}\b`)
	digits    = regexp.MustCompile(`\d+`)
	blanks    = regexp.MustCompile(`[ \t]+`)
)

// observers is a line about the observer, which begins when it likes.
var observers = regexp.MustCompile(`(?m)^_observer .*\n`)

// shape is an output without what is another one each time.
func shape(text string) string {
	text = observers.ReplaceAllString(text, "")
	text = agentName.ReplaceAllString(text, "AGENT")
	text = instant.ReplaceAllString(text, "TIME")
	text = digest.ReplaceAllString(text, "N")
	text = digits.ReplaceAllString(text, "N")
	return blanks.ReplaceAllString(text, " ")
}

// bytesPerEvent measures the events about services, by their number of instances.
func (p *past) bytesPerEvent(t *testing.T) string {
	t.Helper()
	conn, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{p.reader}, Name: "e2e"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum, count := map[int]int{}, map[int]int{}
	err = conn.History().Read(t.Context(), stream.HistoryRange{}, func(s registry.Stored) error {
		m := stream.Decode(s.Subject, s.Header, s.Body, s.Sequence, s.Time)
		if m.Event == nil || m.Event.Service == nil {
			return nil
		}
		size := len(s.Subject) + len(s.Body) + 30 // what the stream's file adds to a message
		for key, values := range s.Header {
			for _, value := range values {
				size += len(key) + len(value) + 4
			}
		}
		n := len(m.Event.Service.Instances)
		sum[n], count[n] = sum[n]+size, count[n]+1
		return nil
	})
	if err != nil || count[1] == 0 || count[2] == 0 {
		t.Fatalf("%v events by their instances, %v", count, err)
	}
	one, two := float64(sum[1])/float64(count[1]), float64(sum[2])/float64(count[2])
	round := func(x float64) int { return int(math.Round(x/10)) * 10 }
	return fmt.Sprintf("an event about a service         %4d bytes, and\nfor each of its instances        %4d bytes and what metadata it has\n", round(2*one-two), round(two-one))
}

// TestAuditPageHasNoEmptyOutput keeps a page that was never filled from being taken for one that is.
func TestAuditPageHasNoEmptyOutput(t *testing.T) {
	t.Parallel()
	for _, mark := range auditMark.FindAllStringSubmatch(readText(t, auditPage), -1) {
		if strings.TrimSpace(mark[2]) == "" {
			t.Errorf("%s: the output of %q is empty: go test ./e2e -run TestAuditOfAMesh -update-docs", auditPage, mark[1])
		}
	}
}
