package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// TestHostileEvents lets somebody with the credentials of amber's agent write whatever
// they can think of, at the running system. Bronze must not notice: neither what is
// answered of it nor how soon its changes are seen. Amber gets what its own agent
// says, once that has looked.
func TestHostileEvents(t *testing.T) {
	together(t)
	m := newMesh(t)
	amber, bronze := newFile(t), newFile(t)
	amber.put(t, "checkout", first)
	amber.put(t, "payments", first)
	bronze.put(t, "login", first)
	m.agent(t, "amber", amberGateway, amber.source())
	m.agent(t, "bronze", bronzeGateway, bronze.source())
	m.answers(t, checkout, "A", amberGateway)
	const login = "login.svc.mesh.internal."
	m.answers(t, login, "A", bronzeGateway)
	stop := m.always(t, login, bronzeGateway)
	defer stop()

	conn := m.connection(t.Context(), t)
	defer conn.Close()
	history := wholeHistory(t, conn)
	quarantined := m.metric(t, "seamark_events_total", `result="quarantined"`)
	for name, message := range hostileEvents(t, history) {
		if _, err := conn.NATS().RequestMsg(message, 10*time.Second); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	m.eventually(t, 20*time.Second, "what can't be used is counted", func() error {
		if n := m.metric(t, "seamark_events_total", `result="quarantined"`); n < quarantined+10 {
			return fmt.Errorf("%v, %v before", n, quarantined)
		}
		return nil
	})
	flooding, enough := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	flood.Go(func() { // 2,000 a second; what one connection may send at all is NATS' to limit
		for n := 0; flooding.Err() == nil; n++ {
			_ = conn.NATS().Publish(fmt.Sprintf("mesh.v1.amber.svc.flood.s%d", n%1000), []byte(`{"schema":"seamark/1.0"`))
			if n%20 == 0 {
				pause(flooding, 10*time.Millisecond)
			}
		}
	})
	for n := range 5 {
		began := time.Now()
		name := fmt.Sprintf("new-%d", n)
		bronze.put(t, name, first)
		m.answers(t, name+".svc.mesh.internal.", "A", bronzeGateway)
		t.Logf("under a flood of amber's, a change of bronze's was visible after %v", time.Since(began).Round(time.Millisecond))
	}
	enough()
	flood.Wait()

	amber.put(t, "later", first)
	m.answers(t, "later.svc.mesh.internal.", "A", amberGateway)
	m.answers(t, checkout, "A", amberGateway)
	m.answers(t, "payments.svc.mesh.internal.", "A", amberGateway)
	m.never(t, "ghost.svc.mesh.internal.")
	second := m.replica(t)
	for _, name := range []string{checkout, "later.svc.mesh.internal.", "payments.svc.mesh.internal."} {
		second.answers(t, name, "A", amberGateway)
	}
	second.answers(t, login, "A", bronzeGateway)
	second.never(t, "ghost.svc.mesh.internal.")
}

// never fails when a name has an address: it may be unknown, or known and empty, once
// the agent has tidied up behind what somebody wrote in its name.
func (m *mesh) never(t *testing.T, name string) {
	t.Helper()
	a, err := ask.Ask(t.Context(), m.dns, name, "A")
	if err != nil || len(a.Data) > 0 {
		t.Errorf("%s: %s %v, %v", name, a.RCode, a.Data, err)
	}
}

// wholeHistory returns every message of the stream as it was stored.
func wholeHistory(t *testing.T, conn *stream.Conn) []*nats.Msg {
	t.Helper()
	js, err := conn.NATS().JetStream()
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo(stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []*nats.Msg
	for n := info.State.FirstSeq; n <= info.State.LastSeq; n++ {
		raw, err := js.GetMsg(stream.EventsStream, n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &nats.Msg{Subject: raw.Subject, Header: raw.Header, Data: raw.Data})
	}
	return all
}

// hostileEvents are the classes of what a cluster could write, by name. What stands on
// amber's own subjects is amber's to break; the rest is refused.
func hostileEvents(t *testing.T, history []*nats.Msg) map[string]*nats.Msg {
	t.Helper()
	all := map[string]*nats.Msg{}
	const subject = "mesh.v1.amber.svc.default.ghost"
	add := func(name, subject, body string, pairs ...string) {
		m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
		for n := 0; n < len(pairs); n += 2 {
			m.Header.Add(pairs[n], pairs[n+1])
		}
		all[name] = m
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 64<<20))
	_ = z.Close()
	service := func(writer, name string, epoch uint64) string {
		return fmt.Sprintf(`{"schema":"seamark/1.0","id":"x","kind":"service","writer":%q,"epoch":%d,"revision":18446744073709551615,"time":"2026-01-01T00:00:00Z","cause":"change",`+
			`"service":{"namespace":"default","name":%q,"instances":[{"id":"g","address":"10.6.6.6","port":80,"weight":1,"health":"passing"}],"total":1,"serving":1,"changed":{"epoch":1,"revision":1,"time":"2026-01-01T00:00:00Z"},"seen":"2026-01-01T00:00:00Z"}}`, writer, epoch, name)
	}
	add("cut short", subject, `{"schema":"seamark/1.0","kind":"serv`)
	add("nested 10,000 deep", subject, strings.Repeat(`{"a":`, 10_000)+"1"+strings.Repeat("}", 10_000))
	add("zip bomb", subject, bomb.String(), "Content-Encoding", "gzip")
	add("unknown version", subject, `{"schema":"seamark/7.3"}`)
	add("no number", subject, strings.Replace(service("amber", "ghost", 1), `"port":80`, `"port":NaN`, 1), "Seamark-Epoch", "1", "Seamark-Revision", "1")
	add("a name given twice", subject, strings.Replace(service("amber", "ghost", 1), `"total":1`, `"total":1,"total":9`, 1), "Seamark-Epoch", "1", "Seamark-Revision", "18446744073709551615")
	add("another cluster in the body", subject, service("bronze", "login", 1), "Seamark-Epoch", "1", "Seamark-Revision", "18446744073709551615")
	add("an epoch that is over", subject, service("amber", "ghost", 1), "Seamark-Epoch", "1", "Seamark-Revision", "18446744073709551615")
	add("an epoch of the year 9999", subject, service("amber", "ghost", 253402300799), "Seamark-Epoch", "253402300799", "Seamark-Revision", "18446744073709551615")
	add("an epoch record of the end of time", "mesh.v1.amber.epoch",
		`{"schema":"seamark/1.0","id":"x","kind":"epoch","writer":"amber","epoch":18446744073709551615,"revision":1,"time":"2026-01-01T00:00:00Z","cause":"change","takeover":{}}`,
		"Seamark-Epoch", "18446744073709551615", "Seamark-Revision", "1")
	add("line breaks in a name", "mesh.v1.amber.svc.default.gho=0D=0Ast", service("amber", "gho\\r\\nst", 1), "Seamark-Epoch", "1", "Seamark-Revision", "1")
	add("wildcards in a name", "mesh.v1.amber.svc.default.=2A", service("amber", "*", 1), "Seamark-Epoch", "1", "Seamark-Revision", "1")
	add("the server's own words", subject, "", "Status", "409", "Description", "Consumer Deleted")
	add("a state by an observer that is over", "mesh.v1._observer.state.bronze",
		`{"schema":"seamark/1.0","id":"x","kind":"state","writer":"_observer","epoch":1,"revision":1,"time":"2026-01-01T00:00:00Z","cause":"change","state":{"cluster":"bronze","state":"gone","since":"2026-01-01T00:00:00Z","reason":"hostile"}}`,
		"Seamark-Epoch", "1", "Seamark-Revision", "1")
	old := 0
	for _, m := range history { // a record of what once was, played again
		if !strings.HasPrefix(m.Subject, "mesh.v1.amber.svc.") {
			continue
		}
		old++
		again := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
		for _, name := range []string{"Seamark-Epoch", "Seamark-Revision", "Content-Encoding", "Content-Type"} {
			if v := m.Header.Get(name); v != "" {
				again.Header.Set(name, v)
			}
		}
		all[fmt.Sprintf("played again %d", old)] = again
	}
	if old == 0 {
		t.Fatal("the history has nothing of amber")
	}
	return all
}
