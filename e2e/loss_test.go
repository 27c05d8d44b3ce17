package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
)

// TestLostStreamWithdrawsNothing deletes both streams under a running mesh. The
// replica that knew everything goes on answering it and makes the streams again; the
// agents publish everything without being told, and a new replica learns it.
func TestLostStreamWithdrawsNothing(t *testing.T) {
	together(t)
	m := newMesh(t)
	r := newFile(t)
	r.put(t, "checkout", first)
	m.agent(t, "amber", amberGateway, r.source())
	m.answers(t, checkout, "A", amberGateway)
	before := m.synced(t, "amber", 0)
	stop := m.always(t, checkout, amberGateway)
	defer stop()
	serial := m.serial(t)

	began := time.Now()
	m.loseStreams(t)
	m.synced(t, "amber", before.Epoch) // nobody does anything
	t.Logf("published anew %v after the streams were deleted", time.Since(began).Round(time.Millisecond))
	second := m.replica(t)
	second.synced(t, "amber", before.Epoch)
	second.answers(t, checkout, "A", amberGateway)
	m.eventually(t, 20*time.Second, "the serials are equal, and beyond the one before", func() error {
		a, b := m.serial(t), second.serial(t)
		if a != b || a <= serial {
			return fmt.Errorf("%d and %d, after %d", a, b, serial)
		}
		return nil
	})
	stop()
}

// TestStartsFromItsCheckpoint kills global-dns again and again, then NATS too: it starts
// from what it kept, says that it is stale, and goes on when NATS is back.
func TestStartsFromItsCheckpoint(t *testing.T) {
	together(t)
	m := &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir(), agentHTTP: map[string]string{}}
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	m.dns, m.http = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	d := startDaemon(t, "global-dns", m.write(t, "global-dns.yaml", map[string]any{
		"nats": map[string]any{"servers": []string{m.nats.URL}}, "dns": map[string]any{"listen": []string{m.dns}}, "http": m.http,
		"checkpoint": map[string]any{"path": filepath.Join(m.dir, "checkpoint"), "interval": "1s"},
	}))
	ready := func() error { return get("http://"+m.http+"/readyz", nil) }
	m.eventually(t, patienceOfTests, "global-dns is ready", ready)
	r := newFile(t)
	r.put(t, "checkout", first)
	m.agent(t, "amber", amberGateway, r.source())
	m.answers(t, checkout, "A", amberGateway)
	m.eventually(t, patienceOfTests, "a checkpoint has it", func() error {
		c, _, err := checkpoint.Open(filepath.Join(m.dir, "checkpoint"), "mesh.internal.").Read()
		if err == nil && len(c.Facts) < 4 {
			err = fmt.Errorf("%d facts", len(c.Facts))
		}
		return err
	})
	for range 5 {
		d.end(syscall.SIGKILL)
		d.start(t)
		m.answers(t, checkout, "A", amberGateway)
	}
	d.end(syscall.SIGKILL)
	if err := m.nats.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	d.start(t)
	m.answers(t, checkout, "A", amberGateway)
	t.Logf("answers %v after its start without NATS", time.Since(began).Round(time.Millisecond))
	if err := ready(); err != nil {
		t.Errorf("it is not ready: %v", err)
	}
	a, err := ask.Ask(t.Context(), m.dns, checkout, "A")
	if err != nil || len(a.Extended) != 1 || !strings.HasPrefix(a.Extended[0], "3 ") {
		t.Errorf("%+v, %v: it must say that it is stale", a, err)
	}
	stop := m.always(t, checkout, amberGateway)
	if err := m.nats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.eventually(t, patienceOfTests, "it is current", func() error {
		a, err := ask.Ask(t.Context(), m.dns, checkout, "A")
		if err == nil && len(a.Extended) > 0 {
			err = fmt.Errorf("%v", a.Extended)
		}
		return err
	})
	stop()
}

// serial asks for the zone's serial.
func (m *mesh) serial(t *testing.T) uint32 {
	t.Helper()
	a, err := ask.Ask(t.Context(), m.dns, "mesh.internal.", "SOA")
	if err != nil || len(a.Data) != 1 {
		t.Fatalf("SOA: %+v, %v", a, err)
	}
	fields := strings.Fields(a.Data[0])
	if len(fields) < 3 {
		t.Fatalf("SOA: %q", a.Data[0])
	}
	n, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}
