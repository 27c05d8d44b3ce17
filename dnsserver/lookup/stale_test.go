package lookup_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// twoHarbours is a service in two clusters with a gateway each.
func twoHarbours() *lookuptest.World {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	w.Cluster("bronze", lookuptest.Gateway("gw", 1, 80, "192.0.2.2"))
	w.Service("amber", "lab", "web", lookuptest.Instance("i", registry.Passing, "1"))
	w.Service("bronze", "lab", "web", lookuptest.Instance("i", registry.Passing, "1"))
	return w
}

func asking(v *registry.View, name string, qtype uint16) lookup.Response {
	return lookup.Answer(v, lookup.Question{Name: name, Type: qtype, Class: dns.ClassINET})
}

// told is an answer in one line: the data of its records, their TTL, and what is added.
func told(r lookup.Response) string {
	var b strings.Builder
	for n, rr := range r.Answer {
		if n == 0 {
			fmt.Fprintf(&b, "%ds", rr.Header().Ttl)
		}
		b.WriteString(" " + strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	if r.Extended != nil {
		b.WriteString(" EDE " + dns.ExtendedErrorCodeToString[r.Extended.Code] + ": " + r.Extended.Text)
	}
	return b.String()
}

func TestLivenessInAnswers(t *testing.T) {
	t.Parallel()
	const web, pinned = "web.lab.svc.mesh.internal.", "web.lab.bronze.cluster.mesh.internal."
	for _, c := range []struct {
		name string
		tell func(w *lookuptest.World)
		ask  string
		want string
	}{
		{"both up", func(w *lookuptest.World) { w.State("amber", registry.Up) }, web, "5s 192.0.2.1 192.0.2.2"},
		{"one stale", func(w *lookuptest.World) { w.State("amber", registry.Stale) }, web, "5s 192.0.2.2"},
		{"one drained", func(w *lookuptest.World) {
			w.Order(registry.Order{Kind: registry.OrderDrain, Target: "bronze"})
		}, web, "5s 192.0.2.1"},
		{"one has left", func(w *lookuptest.World) {
			w.Order(registry.Order{Kind: registry.OrderLeave, Target: "bronze"})
		}, web, "5s 192.0.2.1"},
		{"stale before down", func(w *lookuptest.World) {
			w.State("amber", registry.Stale)
			w.State("bronze", registry.Down)
		}, web, "2s 192.0.2.1 EDE Stale Answer: amber stale since 2026-01-02T03:04:07Z"},
		{"both down", func(w *lookuptest.World) {
			w.State("amber", registry.Down)
			w.State("bronze", registry.Down)
		}, web, "2s 192.0.2.1 192.0.2.2 EDE Stale Answer: amber down since 2026-01-02T03:04:07Z, bronze down since 2026-01-02T03:04:09Z"},
		{
			"down, asked for by name", func(w *lookuptest.World) { w.State("bronze", registry.Down) }, pinned,
			"2s 192.0.2.2 EDE Stale Answer: bronze down since 2026-01-02T03:04:07Z",
		},
		{"up, asked for by name", func(w *lookuptest.World) { w.State("amber", registry.Down) }, pinned, "5s 192.0.2.2"},
		{"both down, to be withdrawn", func(w *lookuptest.World) {
			z := lookuptest.Zone()
			z.Withdraw = []registry.Pattern{"lab/*"}
			w.Zone(z)
			w.State("amber", registry.Down)
			w.State("bronze", registry.Stale)
		}, web, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := twoHarbours()
			c.tell(w)
			if got := told(asking(w.View(), c.ask, dns.TypeA)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A View that is cut off gives the same answers, with a short TTL and what is to be
// thought of them, whatever was asked.
func TestCutOffInAnswers(t *testing.T) {
	t.Parallel()
	v := twoHarbours().View().CutOff(registry.Cut{Since: time.Unix(1_800_000_000, 0), Reason: "no connection to NATS"})
	for name, want := range map[string]string{
		"web.lab.svc.mesh.internal.":   "2s 192.0.2.1 192.0.2.2 EDE Stale Answer: as known at 2027-01-15T08:00:00Z: no connection to NATS",
		"amber.gw.mesh.internal.":      "2s 192.0.2.1 EDE Stale Answer: as known at 2027-01-15T08:00:00Z: no connection to NATS",
		"never.lab.svc.mesh.internal.": " EDE Stale NXDOMAIN Answer: as known at 2027-01-15T08:00:00Z: no connection to NATS",
		"lab.svc.mesh.internal.":       " EDE Stale Answer: as known at 2027-01-15T08:00:00Z: no connection to NATS",
	} {
		r := asking(v, name, dns.TypeA)
		if got := told(r); got != want {
			t.Errorf("%s: got  %s\nwant %s", name, got, want)
		}
		if len(r.Answer) == 0 && r.Authority[0].Header().Ttl != 2 {
			t.Errorf("%s: the negative answer may be cached for %d s", name, r.Authority[0].Header().Ttl)
		}
	}
	if got := told(asking(v.Current(), "web.lab.svc.mesh.internal.", dns.TypeA)); got != "5s 192.0.2.1 192.0.2.2" {
		t.Errorf("without the mark: %s", got)
	}
}

func TestWhyNamesEveryClusterWithItsReason(t *testing.T) {
	t.Parallel()
	w := twoHarbours()
	w.State("amber", registry.Stale, "gw")
	w.Order(registry.Order{Kind: registry.OrderDrain, Target: "bronze", By: "ada", For: 60})
	v := w.View()
	want := `3s "cluster=amber" "answered=yes" "reason=its agent is silent: serving, for no better cluster can" "state=stale" "since=2026-01-02T03:04:07Z" "revision=1.3" "changed=2026-01-02T03:04:05Z" "failing=gw"` +
		` "cluster=bronze" "answered=no" "reason=drained" "state=up" "revision=1.3" "changed=2026-01-02T03:04:06Z" "order=drain by ada" "until=2026-01-02T03:05:09Z"`
	if got := told(asking(v, "_why.web.lab.svc.mesh.internal.", dns.TypeTXT)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r := asking(v, "_why.web.lab.bronze.cluster.mesh.internal.", dns.TypeTXT); len(r.Answer) != 1 || !strings.Contains(told(r), "answered=yes") {
		t.Errorf("bronze by itself: %s", told(r))
	}
	if r := asking(v, "_why.web.lab.svc.mesh.internal.", dns.TypeA); r.RCode != dns.RcodeSuccess || len(r.Answer) != 0 {
		t.Errorf("A: %+v", r)
	}
	for _, name := range []string{"_why.never.lab.svc.mesh.internal.", "_why.lab.svc.mesh.internal.", "_why.svc.mesh.internal.", "_why._why.web.lab.svc.mesh.internal.", "_why.amber.gw.mesh.internal."} {
		if r := asking(v, name, dns.TypeTXT); r.RCode != dns.RcodeNameError {
			t.Errorf("%s: %s", name, dns.RcodeToString[r.RCode])
		}
	}
}
