package e2e

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// tools are the ones that people ask with: they keep nothing.
func tools() []*client {
	ask := func(arguments ...string) func(*testing.T, *shore) asking {
		return func(_ *testing.T, s *shore) asking {
			return func(ctx context.Context, service string) ([]string, error) {
				out, err := s.tool(ctx, arguments[0], append(arguments[1:len(arguments):len(arguments)], service+".svc.mesh.internal", "A")...)
				if err != nil {
					return nil, err
				}
				return addressesIn(out)
			}
		}
	}
	return []*client{
		{name: "dig", alone: true, need: program("dig", "bind9-dnsutils"), within: directly, start: ask("dig", "+short")},
		{name: "kdig", alone: true, need: program("kdig", "knot-dnsutils"), within: directly, start: ask("kdig", "+short")},
		{name: "drill", alone: true, need: program("drill", "ldnsutils"), within: directly, start: ask("drill", "-Q")},
	}
}

// tool asks global-dns with dig, kdig or drill.
func (s *shore) tool(ctx context.Context, name string, arguments ...string) ([]byte, error) {
	host, port, err := net.SplitHostPort(s.dns)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, name, append([]string{"@" + host, "-p", port}, arguments...)...).CombinedOutput()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = nil // some say by their exit code that there is no answer
	}
	return out, err
}

// complaint is what the tools write when a reply is not as it should be.
var complaint = regexp.MustCompile(`(?i)warning|error:|malformed|mismatch|extra bytes|bad packet|echoed|unexpected|couldn't|;; Got bad`)

// judged is one question to one tool. Every want must match what it prints, no never may.
type judged struct {
	with  string
	want  []string
	never []string
}

const web = "web.svc.mesh.internal"

// digJudges are what dig is asked; it wants +norecurse, or warns that an authority
// does not recurse.
var digJudges = []judged{
	{with: "+norec " + web, want: []string{`flags: qr aa; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1`, `COOKIE: [0-9a-f]{48} \(good\)`, `udp: 1232`, `web\.svc\.mesh\.internal\.\s+5\s+IN\s+A\s+127\.0\.1\.1`}},
	{with: "+norec +qr " + web, want: []string{`flags: ad; QUERY: 1`, `flags: qr aa; QUERY: 1`}},
	{with: "+rec +nocookie " + web, want: []string{`flags: qr aa rd; QUERY: 1, ANSWER: 1`, `recursion requested but not available`}, never: []string{`COOKIE`}},
	{with: "+norec +noedns +nocookie " + web, want: []string{`flags: qr aa; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 0`}, never: []string{`OPT PSEUDOSECTION`}},
	{with: "+norec +nsid " + web, want: []string{`NSID: 70 69 6c 6f 74 2d 31 \("pilot-1"\)`}},
	{with: "+norec +subnet=203.0.113.0/24 " + web, want: []string{`status: NOERROR`}, never: []string{`CLIENT-SUBNET`}},
	{with: "+norec +ednsopt=19 " + web, want: []string{`OPT=19: 02 00 [0-9a-f ]+`}},
	{with: "+norec +ednsopt=65001:abcd " + web, want: []string{`status: NOERROR`}, never: []string{`OPT=65001`}},
	{with: "+norec +ednsflags=0x40 +dnssec +cdflag " + web, want: []string{`flags: do; udp: 1232`, `flags: qr aa;`}, never: []string{`MBZ`}},
	{with: "+norec +edns=1 +noednsnegotiation " + web, want: []string{`status: BADVERS`, `EDNS: version: 0`, `ANSWER: 0`}},
	{with: "+norec +bufsize=512 +ignore _http._tcp.default.svc.mesh.internal PTR", want: []string{`flags: qr aa tc; QUERY: 1, ANSWER: 0, AUTHORITY: 0`}},
	{with: "+norec _http._tcp.default.svc.mesh.internal PTR", want: []string{`Truncated, retrying in TCP`, `ANSWER: 201`, `\(TCP\)`}},
	{with: "+norec +tcp +keepalive " + web, want: []string{`TCP KEEPALIVE: 10\.0 secs`, `\(TCP\)`}},
	{with: "+norec +tcp +keepopen " + web + " A bronze.gw.mesh.internal A", want: []string{`127\.0\.1\.1`, `127\.0\.1\.2`, `\(TCP\)`}},
	{with: "+norec +notcp " + web + " ANY", want: []string{`HINFO\s+"RFC8482"`, `ANSWER: 1`}},
	{with: "+norec +tcp " + web + " ANY", want: []string{`HINFO\s+"RFC8482"`, `ANSWER: 1`}},
	{with: "+norec id.server CH TXT", want: []string{`"pilot-1"`}},
	{with: "+norec version.bind CH TXT", want: []string{`status: REFUSED`}},
	{with: "+norec " + web + " HS A", want: []string{`status: REFUSED`}},
	{with: "+norec WeB.sVc.MESH.internal", want: []string{`WeB\.sVc\.MESH\.internal\.\s+5\s+IN\s+A`}},
	{with: "+norec nobody.svc.mesh.internal", want: []string{`status: NXDOMAIN`, `flags: qr aa;`, `mesh\.internal\.\s+5\s+IN\s+SOA`}},
	{with: "+norec " + web + " AAAA", want: []string{`status: NOERROR`, `ANSWER: 0, AUTHORITY: 1`, `SOA`}},
	{with: "+norec www.example.org", want: []string{`status: REFUSED`, `EDE: 20`, `flags: qr;`}},
	{with: "+norec mesh.internal AXFR", want: []string{`Transfer failed`}},
	{with: "+norec +tcp _http._tcp." + web + " SRV", want: []string{`SRV\s+0 1 \d+ gw-1\.amber\.gw\.mesh\.internal\.`, `gw-1\.amber\.gw\.mesh\.internal\.\s+5\s+IN\s+A\s+127\.0\.1\.1`}},
	{with: "+norec +noedns +opcode=NOTIFY " + web, want: []string{`status: NOTAUTH`}},
	{with: "+norec +noedns +opcode=UPDATE " + web, want: []string{`status: NOTIMP`}},
	{with: "+norec +header-only", want: []string{`status: NOERROR`, `QUERY: 0, ANSWER: 0`, `COOKIE: [0-9a-f]{48} \(good\)`}}, // it asks for a cookie alone
	{with: "+norec +header-only +nocookie", want: []string{`status: FORMERR`, `QUERY: 0, ANSWER: 0`}},
	{with: "+norec " + web + " TYPE65280", want: []string{`status: NOERROR`, `ANSWER: 0, AUTHORITY: 1`}},
}

var kdigJudges = []judged{
	{with: "+norec +nsid +cookie +edns " + web, want: []string{`Flags: qr aa; QUERY: 1; ANSWER: 1`, `NSID: 70696C6F742D31 "pilot-1"`, `COOKIE: [0-9A-Fa-f]{48}`, `web\.svc\.mesh\.internal\.\s+5\s+IN\s+A\s+127\.0\.1\.1`}},
	{with: "+rec " + web, want: []string{`Flags: qr aa rd;`}},
	{with: "+norec +edns +subnet=203.0.113.0/24 " + web, want: []string{`status: NOERROR`}, never: []string{`CLIENT-SUBNET`}},
	{with: "+norec +ednsopt=19 " + web, want: []string{`Option \(19\): 0200[0-9A-F]{8}`}},
	{with: "+norec +edns=1 " + web, want: []string{`ext-rcode: BADVERS|BADVERS`}},
	{with: "+norec +padding=64 " + web, want: []string{`status: NOERROR`}, never: []string{`PADDING`}},
	{with: "+norec +tcp +keepopen " + web + " A _http._tcp." + web + " SRV", want: []string{`A\s+127\.0\.1\.1`, `SRV\s+0 1`, `\(TCP\)`}},
	{with: "+norec +bufsize=512 +ignore _http._tcp.default.svc.mesh.internal PTR", want: []string{`Flags: qr aa tc; QUERY: 1; ANSWER: 0`}},
	{with: "+norec -t ANY " + web, want: []string{`HINFO\s+"RFC8482"`}},
	{with: "+norec -c CH -t TXT id.server", want: []string{`"pilot-1"`}},
	{with: "+norec -c CH -t TXT version.bind", want: []string{`status: REFUSED`}},
	{with: "+norec +edns www.example.org", want: []string{`status: REFUSED`, `EDE: 20`}},
	{with: "+norec nobody.svc.mesh.internal", want: []string{`status: NXDOMAIN`, `SOA`}},
}

var drillJudges = []judged{
	{with: "-o rd " + web, want: []string{`rcode: NOERROR`, `flags: qr aa ; QUERY: 1, ANSWER: 1`, `127\.0\.1\.1`}},
	{with: web, want: []string{`flags: qr aa rd ;`}},
	{with: "-D -b 1232 -o rd " + web, want: []string{`EDNS: version 0; flags: do ; udp: 1232`}},
	{with: "-t -o rd " + web + " SRV", want: []string{`rcode: NOERROR`, `ANSWER: 0, AUTHORITY: 1`}},
	{with: "-a -o rd _http._tcp.default.svc.mesh.internal PTR", want: []string{`ANSWER: 201`}},
	{with: "-o rd nobody.svc.mesh.internal", want: []string{`rcode: NXDOMAIN`, `SOA`}},
	{with: "-o rd id.server TXT CH", want: []string{`"pilot-1"`}},
	{with: "-o rd www.example.org", want: []string{`rcode: REFUSED`}},
}

// judge lets the tools look at replies: they see the right flags and options, and find
// nothing to complain of.
func (s *shore) judge(t *testing.T) {
	s.answers(t, web+".", "A", gatewayOf["amber"]) // the last of what the agent publishes
	for name, set := range map[string]struct {
		debian string
		all    []judged
	}{"dig": {"bind9-dnsutils", digJudges}, "kdig": {"knot-dnsutils", kdigJudges}, "drill": {"ldnsutils", drillJudges}} {
		t.Run(name, func(t *testing.T) {
			program(name, set.debian)(t)
			for _, j := range set.all {
				s.judgeOne(t, name, j)
			}
		})
	}
	t.Run("cookies", s.judgeCookies)
}

func (s *shore) judgeOne(t *testing.T, tool string, j judged) {
	t.Helper()
	raw, err := s.tool(t.Context(), tool, strings.Fields(j.with)...)
	if err != nil {
		t.Fatal(err)
	}
	out := string(raw)
	for _, want := range j.want {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s %s does not say %s:\n%s", tool, j.with, want, out)
		}
	}
	for _, never := range j.never {
		if regexp.MustCompile(never).MatchString(out) {
			t.Errorf("%s %s says %s:\n%s", tool, j.with, never, out)
		}
	}
	expected := strings.Join(j.want, " ")
	for line := range strings.Lines(out) {
		if said := complaint.FindString(line); said != "" && !strings.Contains(expected, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), ";; WARNING: "))) {
			t.Errorf("%s %s complains: %s", tool, j.with, line)
		}
	}
}

// judgeCookies: a cookie that a reply brought counts the second time, a wrong one does
// not and brings a good one.
func (s *shore) judgeCookies(t *testing.T) {
	program("dig", "bind9-dnsutils", "kdig", "knot-dnsutils")(t)
	found := regexp.MustCompile(`COOKIE: ([0-9A-Fa-f]{48})`)
	for tool, with := range map[string]string{"dig": "+norec +cookie=0123456789abcdef ", "kdig": "+norec +cookie=0123456789abcdef "} {
		ask := func(with string) string {
			out, err := s.tool(t.Context(), tool, strings.Fields(with+web)...)
			if err != nil {
				t.Fatal(err)
			}
			got := found.FindSubmatch(out)
			if got == nil || complaint.Match(out) {
				t.Fatalf("%s %s: no cookie, or a complaint:\n%s", tool, with, out)
			}
			return strings.ToLower(string(got[1]))
		}
		bad := func() float64 { return s.metric(t, "seamark_dns_notes_total", `what="bad-cookie"`) }
		good := func() float64 { return s.metric(t, "seamark_dns_notes_total", `what="good-cookie"`) }
		first, before, goodBefore := ask(with), bad(), good()
		if again := ask("+norec +cookie=" + first + " "); again != first || bad() != before || good() != goodBefore+1 {
			t.Errorf("%s: the cookie %s was not taken: %s, %v bad ones, %v good ones", tool, first, again, bad()-before, good()-goodBefore)
		}
		forged := first[:46] + "00"
		if again := ask("+norec +cookie=" + forged + " "); again == forged || bad() != before+1 || good() != goodBefore+1 {
			t.Errorf("%s: the forged cookie %s was taken: %s, %v bad ones, %v good ones", tool, forged, again, bad()-before, good()-goodBefore)
		}
	}
}
