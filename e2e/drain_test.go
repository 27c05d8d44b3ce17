package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// drained is what seamark drains says.
type drained struct {
	Target, State, By, Reason string
	Since                     time.Time
	Ends                      *time.Time
}

func (m *mesh) drains(t *testing.T) (all map[string]drained) {
	t.Helper()
	out, code := m.seamark(t, "drains", "-o", "json")
	var reply struct{ Drains []drained }
	if err := json.Unmarshal([]byte(out), &reply); err != nil || code != 0 {
		t.Fatalf("drains exits with %d, %v: %s", code, err, out)
	}
	all = map[string]drained{}
	for _, d := range reply.Drains {
		all[d.Target] = d
	}
	return all
}

// TestDrain takes a cluster, a gateway and a service out of the answers, and back in.
func TestDrain(t *testing.T) {
	together(t)
	m := newMesh(t)
	amber, bronze := newFile(t), newFile(t)
	for _, r := range []realRegistry{amber, bronze} {
		r.put(t, "checkout", first)
		r.put(t, "beside", first)
	}
	amber.put(t, "alone", first)
	m.agent(t, "amber", amberGateway, amber.source())
	m.agent(t, "bronze", bronzeGateway, bronze.source())
	both := []string{amberGateway, bronzeGateway}
	m.answers(t, checkout, "A", both...)
	const beside = "beside.svc.mesh.internal."
	const alone = "alone.svc.mesh.internal."

	for name, test := range map[string]struct {
		arguments []string
		code      int
		says      []string
	}{
		"empties a service": {[]string{"drain", "amber", "--reason", "r"}, 1, []string{"without amber 1 service has no answer: default/alone", "--force"}},
		"its last gateway":  {[]string{"drain", "amber/gw-1", "--reason", "r"}, 1, []string{"default/alone"}},
		"its only cluster":  {[]string{"drain", "default/alone@amber", "--reason", "r"}, 1, []string{"default/alone"}},
		"unknown cluster":   {[]string{"drain", "cobalt", "--reason", "r"}, 1, []string{"no cluster cobalt", "amber, bronze"}},
		"unknown gateway":   {[]string{"drain", "amber/gw-9", "--reason", "r"}, 1, []string{"no gateway gw-9", "gw-1"}},
		"unknown service":   {[]string{"drain", "default/alone@bronze", "--reason", "r"}, 1, []string{"bronze has no service default/alone"}},
		"no reason":         {[]string{"drain", "bronze"}, 2, []string{"--reason"}},
		"no target":         {[]string{"drain", "amber/", "--reason", "r"}, 2, []string{"CLUSTER/GATEWAY"}},
		"no cluster's name": {[]string{"drain", "Am_ber", "--reason", "r"}, 2, []string{"names no cluster"}},
		"too long":          {[]string{"drain", "bronze", "--reason", "r", "--for", "1000h"}, 2, []string{"--for"}},
		"not whole":         {[]string{"drain", "bronze", "--reason", "r", "--failback", "1500ms"}, 2, []string{"--failback"}},
		"not drained":       {[]string{"undrain", "bronze"}, 1, []string{"bronze is not drained"}},
		"has not left":      {[]string{"join", "bronze"}, 1, []string{"bronze has not left"}},
		"leaves no answer":  {[]string{"leave", "amber", "--reason", "r"}, 1, []string{"default/alone"}},
		"help":              {[]string{"drain", "--help"}, 0, []string{"--failback", "kernel update"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := m.seamark(t, test.arguments...)
			if code != test.code {
				t.Errorf("exits with %d, want %d", code, test.code)
			}
			for _, part := range test.says {
				if !strings.Contains(out, part) {
					t.Errorf("does not say %q:\n%s", part, out)
				}
			}
		})
	}
	if all := m.drains(t); len(all) > 0 {
		t.Fatalf("what was refused stands: %v", all)
	}

	m.must(t, "drained", "drain", "bronze", "--for", "1h", "--reason", "kernel update")
	m.answers(t, checkout, "A", amberGateway)
	m.answers(t, beside, "A", amberGateway)
	d := m.drains(t)["bronze"]
	if d.State != "drained" || d.By != "ada@bridge" || d.Reason != "kernel update" || d.Ends == nil || d.Ends.Sub(d.Since) != time.Hour+30*time.Second {
		t.Errorf("%+v", d)
	}
	if out, code := m.seamark(t, "drain", "checkout@amber", "--reason", "r"); code != 1 || !strings.Contains(out, "default/checkout") {
		t.Errorf("a drain that undoes the first exits with %d: %s", code, out)
	}
	m.must(t, "ending", "undrain", "bronze")
	m.answers(t, checkout, "A", amberGateway) // within the failback
	m.must(t, "lifted", "undrain", "bronze", "--now")
	m.answers(t, checkout, "A", both...)

	m.must(t, "drained", "drain", "checkout@bronze", "--for", "0s", "--failback", "0s", "--reason", "bad release")
	m.answers(t, checkout, "A", amberGateway)
	m.answers(t, beside, "A", both...)
	if d := m.drains(t)["default/checkout@bronze"]; d.State != "drained" || d.Ends != nil {
		t.Errorf("%+v", d)
	}
	m.must(t, "lifted", "undrain", "checkout@bronze")
	m.answers(t, checkout, "A", both...)

	m.must(t, "drained", "drain", "amber", "--force", "--reason", "it burns")
	m.answers(t, checkout, "A", bronzeGateway)
	m.answers(t, alone, "A")
	m.must(t, "lifted", "undrain", "amber", "--now")
	m.answers(t, alone, "A", amberGateway)

	m.must(t, "drained", "drain", "bronze/gw-1", "--for", "6s", "--failback", "1s", "--reason", "certificate")
	m.answers(t, checkout, "A", amberGateway)
	m.eventually(t, patienceOfTests, "the drain ends by itself", func() error {
		if all := m.drains(t); len(all) > 0 {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	m.answers(t, checkout, "A", both...)

	var told []string
	for _, message := range m.audit(t) {
		if message.Event != nil && message.Event.Order != nil && message.Event.Order.Target == "bronze" {
			told = append(told, message.Event.Order.By+": "+message.Event.Order.Reason)
		}
	}
	if len(told) != 3 || told[0] != "ada@bridge: kernel update" {
		t.Errorf("the history tells of bronze: %s", strings.Join(told, "; "))
	}
}
