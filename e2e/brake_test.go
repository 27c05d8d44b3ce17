package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// heldBack is what seamark brake list says of one cluster.
type heldBack struct {
	Cluster, ID, State   string
	Services, OfServices int
	Until                *time.Time
}

// held returns what is held back; the zero value when nothing is.
func (m *mesh) held(t *testing.T) (h heldBack) {
	t.Helper()
	out, code := m.seamark(t, "brake", "list", "-o", "json")
	var reply struct {
		Brakes []struct {
			Cluster    string     `json:"cluster"`
			ID         string     `json:"id"`
			State      string     `json:"state"`
			Services   int        `json:"services"`
			OfServices int        `json:"of_services"`
			Until      *time.Time `json:"until"`
		} `json:"brakes"`
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil || code != 0 || len(reply.Brakes) > 1 {
		t.Fatalf("brake list exits with %d, %v: %s", code, err, out)
	}
	if len(reply.Brakes) == 1 {
		h = heldBack(reply.Brakes[0])
	}
	return h
}

// loses waits until so many services are held back.
func (m *mesh) loses(t *testing.T, services int) (h heldBack) {
	t.Helper()
	m.eventually(t, patienceOfTests, fmt.Sprintf("%d services are held back", services), func() error {
		if h = m.held(t); h.Services != services {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	return h
}

// must runs the operator's command, which has to succeed and say these things.
func (m *mesh) must(t *testing.T, says string, arguments ...string) {
	t.Helper()
	if out, code := m.seamark(t, arguments...); code != 0 || !strings.Contains(out, says) {
		t.Fatalf("seamark %v exits with %d, and should say %q:\n%s", arguments, code, says, out)
	}
}

func bulk(n int) string { return fmt.Sprintf("bulk-%d.svc.mesh.internal.", n) }

// TestMassWithdrawal loses half of a registry, one service after another: what was
// known stands until an operator decides, through a restart of the agent, and what is
// new passes.
func TestMassWithdrawal(t *testing.T) {
	t.Parallel()
	for kind, make := range registries {
		t.Run(kind, func(t *testing.T) {
			together(t)
			m, r := newMesh(t), make(t)
			for n := range 100 {
				r.put(t, fmt.Sprintf("bulk-%d", n), instance{id: fmt.Sprintf("only-%d", n), address: "10.1.0.1", port: 1000 + n})
			}
			r.put(t, "stays", first, second)
			agent := m.agent(t, "amber", amberGateway, r.source())
			m.answers(t, bulk(99), "A", amberGateway)

			for n := 50; n < 100; n++ {
				r.put(t, fmt.Sprintf("bulk-%d", n))
			}
			h := m.loses(t, 50)
			if h.Cluster != "amber" || h.State != "held" || h.OfServices != 101 || h.Until == nil {
				t.Errorf("%+v", h)
			}
			stands := func() {
				t.Helper()
				for _, n := range []int{0, 49, 50, 51, 75, 99} {
					m.answers(t, bulk(n), "A", amberGateway)
				}
			}
			stands()
			stop := m.always(t, bulk(99), amberGateway)
			defer stop()
			m.eventually(t, patienceOfTests, "metrics tell", func() error {
				if got := metricOf(t, agent.http, "seamark_brake_held", `what="services"`); got != 50 {
					return fmt.Errorf("%v", got)
				}
				return nil
			})

			r.put(t, "newcomer", instance{id: "n1", address: "10.1.0.2", port: 80})
			m.answers(t, "newcomer.svc.mesh.internal.", "A", amberGateway)
			sick := first
			sick.bad = true
			r.put(t, "stays", sick, second)
			m.text(t, "stays.svc.mesh.internal.", "healthy=1")

			epoch := m.synced(t, "amber", 0).Epoch
			agent.kill()
			agent.start(t)
			m.synced(t, "amber", epoch)
			stands()
			if again := m.held(t); again.ID != h.ID || again.Services != 50 || !again.Until.Equal(*h.Until) {
				t.Errorf("after a restart %+v is held back, before it was %+v", again, h)
			}

			m.must(t, "stand until the registry has them again", "brake", "reject", "amber", h.ID, "--reason", "the registry lies")
			stands()
			if out, code := m.seamark(t, "brake", "approve", "amber", "another"); code != 1 || !strings.Contains(out, h.ID) {
				t.Errorf("approving another one exits with %d: %s", code, out)
			}
			stop()
			m.must(t, "are withdrawn: ada@bridge approved it", "brake", "approve", "amber")
			for _, n := range []int{50, 99} {
				m.answers(t, bulk(n), "A")
			}
			m.answers(t, bulk(49), "A", amberGateway)
			m.must(t, "nothing is held back", "brake", "list")
			m.must(t, h.ID, "brake", "list", "--all")
			if out, code := m.seamark(t, "brake", "approve", "amber"); code != 1 || !strings.Contains(out, "holds nothing back") {
				t.Errorf("approving nothing exits with %d: %s", code, out)
			}

			var told []string
			var last registry.Brake
			for _, message := range m.audit(t) {
				if message.Fact.Kind == registry.KindNote && message.Fact.Name == registry.NoteBrake {
					b, err := registry.ParseBrake(*message.Event.Note)
					if err != nil {
						t.Fatal(err)
					}
					if b.ID == h.ID {
						if b.State == registry.BrakeHeld && last.State == registry.BrakeHeld && b.Services > last.Services {
							told = told[:len(told)-1] // on a slow machine it is told before all of it has gone, and then grows
						}
						told, last = append(told, string(b.State)+" by "+b.By), b
					}
				}
			}
			if got := strings.Join(told, ", "); got != "held by , rejected by ada@bridge, approved by ada@bridge" {
				t.Errorf("the history tells of %s: %s", h.ID, got)
			}
		})
	}
}

// TestMassWithdrawalPasses lets what nobody decides about pass, and does not hold a
// cluster that was ordered to leave.
func TestMassWithdrawalPasses(t *testing.T) {
	together(t)
	m, r := newMesh(t), newFile(t)
	m.brake = map[string]any{"pass_after": "12s"}
	r.fill(t, "bulk", 20)
	m.agent(t, "amber", amberGateway, r.source())
	m.answers(t, bulk(19), "A", amberGateway)
	files := r.(*fileRegistry)
	clear(files.services)
	files.save(t) // emptied: confirmed by a second read, and held all the same
	h := m.loses(t, 20)
	m.answers(t, bulk(19), "A", amberGateway)
	m.answers(t, bulk(19), "A")
	if h := m.held(t); h.ID != "" {
		t.Errorf("%+v is still held back", h)
	}
	m.must(t, "passed", "brake", "list", "--all")

	r.fill(t, "bulk", 20)
	m.answers(t, bulk(19), "A", amberGateway)
	if out, code := m.seamark(t, "leave", "amber", "--reason", "it goes"); code != 1 || !strings.Contains(out, "20 services have no answer") {
		t.Errorf("a leave that empties services exits with %d: %s", code, out)
	}
	m.must(t, "left", "leave", "amber", "--reason", "it goes", "--force")
	m.answers(t, bulk(19), "A")
	clear(files.services)
	files.save(t)
	m.text(t, bulk(19), "total=0")
	m.must(t, h.ID, "brake", "list", "--all") // no other one
	m.must(t, "amber", "drains")
	r.fill(t, "bulk", 20)
	m.must(t, "joined", "join", "amber")
	m.answers(t, bulk(19), "A", amberGateway)
	m.audit(t)
}
