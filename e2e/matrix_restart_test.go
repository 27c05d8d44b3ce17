package e2e

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// testOutage takes the registry itself away, for as long as three leases: nothing is
// withdrawn, and the lease says why. What is changed right after its return is
// published, each thing once, and nothing else is. In Nacos an application's ephemeral
// instance is gone with the server, and back as soon as the SDK notices.
func testOutage(t *testing.T, m *mesh, kind string, r realRegistry) {
	one := func(service string, last int, version string) instance {
		return instance{id: service, address: fmt.Sprintf("10.0.3.%d", last), port: 80, version: version}
	}
	r.put(t, "changed", one("changed", 1, "1.0.0"))
	r.put(t, "gone", one("gone", 2, "1.0.0"))
	stand := []string{"checkout", "changed", "gone"}
	if n, ok := r.(*nacosRegistry); ok {
		newApplication(t, n.server).register(t, "ephemeral", one("ephemeral", 4, "1.0.0"))
		stand = append(stand, "ephemeral")
	}
	var stops []func()
	stop := func() {
		for _, stop := range stops {
			stop()
		}
	}
	defer stop()
	for _, service := range stand {
		m.answers(t, service+".svc.mesh.internal.", "A", amberGateway)
		stops = append(stops, m.always(t, service+".svc.mesh.internal.", amberGateway))
	}
	before := m.synced(t, "amber", 0)
	tape, all := m.record(t), m.history(t)
	last := all[len(all)-1].Sequence

	back := r.outage(t)
	began := time.Now()
	m.eventually(t, 60*time.Second, "the lease says that the registry is down", func() error {
		c, err := m.cluster("amber")
		if err == nil && c.Phase != "registry_down" {
			err = fmt.Errorf("phase %s", c.Phase)
		}
		return err
	})
	pause(t.Context(), time.Until(began.Add(longOutage)))
	stop()
	if said := saidAfter(tape.all(), last); len(said) > 0 {
		t.Errorf("while the registry was away the agent said %q", said)
	}

	back()
	began = time.Now()
	r.put(t, "changed", one("changed", 1, "2.0.0"))
	r.put(t, "gone")
	r.put(t, "come", one("come", 3, "1.0.0"))
	want := map[string][]string{}
	expect := func(service string, last int, short string) {
		want[service] = []string{fmt.Sprintf(short, eventID(kind, one(service, last, "")))}
	}
	expect("changed", 1, "~%s version 1/1")
	expect("gone", 2, "-%s 0/0")
	expect("come", 3, "+%s 1/1")
	exactly := func(what string) {
		t.Helper()
		m.eventually(t, time.Minute, what, func() error {
			if said := saidAfter(tape.all(), last); !reflect.DeepEqual(said, want) {
				return fmt.Errorf("the agent said %q, want %q", said, want)
			}
			return nil
		})
	}
	exactly("exactly what was changed is published")
	t.Logf("%s: what was changed is published %v after the registry came back", kind, time.Since(began).Round(time.Millisecond))
	m.text(t, "changed.svc.mesh.internal.", "versions=2.0.0")
	m.answers(t, "gone.svc.mesh.internal.", "A")
	m.answers(t, "come.svc.mesh.internal.", "A", amberGateway)
	m.answers(t, checkout, "A", amberGateway)
	r.put(t, "after", one("after", 5, "1.0.0"))
	expect("after", 5, "+%s 1/1")
	exactly("nothing else follows")
	if after := m.synced(t, "amber", 0); after.Epoch != before.Epoch {
		t.Errorf("a restart of the registry began epoch %d", after.Epoch)
	}
}

// saidAfter returns what amber has published after a sequence of each service, each
// event in short.
func saidAfter(all []registry.Message, sequence uint64) map[string][]string {
	said := map[string][]string{}
	for _, m := range all {
		if m.Sequence > sequence && m.Fact.Kind == registry.KindService && m.Fact.Writer == "amber" {
			said[m.Fact.Service.Name] = append(said[m.Fact.Service.Name], short(m.Event))
		}
	}
	return said
}
