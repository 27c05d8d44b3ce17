//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// target is a real global-dns that is treated badly, with a zone behind it: the
// service web, and so many services with long names that their list fits nowhere.
type target struct {
	*mesh
	process *daemon
}

// What the target is told: a cookie secret, so that cookies can be forged, and who
// may transfer the zone.
const (
	cookieSecret   = "e5e973e5a6b2a43f48e7dc849e37bfcf"
	transferClient = "127.0.5.1"
	tcpIdle        = 2 * time.Second
	maxConnections = 400
	maxPerAddress  = 128
)

func newTarget(t *testing.T) *target {
	t.Helper()
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	x := &target{mesh: &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir(), agentHTTP: map[string]string{}}}
	x.dns, x.http = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	secrets := map[string]string{"cookie": cookieSecret, "xfr": transferSecret}
	for name, secret := range secrets {
		secrets[name] = filepath.Join(x.dir, name)
		if err := os.WriteFile(secrets[name], []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x.process = startDaemon(t, "global-dns", x.write(t, "global-dns.yaml", map[string]any{
		"zone": map[string]any{"name": "mesh.internal.", "nameservers": []any{map[string]any{"name": "ns1.mesh.internal.", "addresses": []string{"192.0.2.53"}}}},
		"nats": map[string]any{"servers": []string{x.nats.URL}},
		"dns": map[string]any{
			"listen":  []string{x.dns},
			"tcp":     map[string]any{"idle": tcpIdle.String(), "max_connections": maxConnections, "max_per_address": maxPerAddress},
			"cookies": map[string]any{"secret_files": []string{secrets["cookie"]}},
			"transfer": map[string]any{
				"allow": []string{transferClient + "/32"},
				"keys":  []any{map[string]any{"name": "xfr", "algorithm": "hmac-sha256", "secret_file": secrets["xfr"]}},
			},
		},
		"http": x.http,
	}))
	x.eventually(t, 20*time.Second, "global-dns is ready", func() error { return get("http://"+x.http+"/readyz", nil) })
	zone := newFile(t)
	for n := range longNames {
		zone.(*fileRegistry).services[longName(n)] = []map[string]any{{"id": "1", "address": "10.0.0.1", "port": 80}}
	}
	zone.put(t, "web", passing)
	x.agent(t, "amber", "192.0.2.80", zone.source())
	x.answers(t, "web.svc.mesh.internal.", "A", "192.0.2.80")
	return x
}

// longNames is how many services there are whose names are as long as names may be.
const longNames = 990

func longName(n int) string { return fmt.Sprintf("long-%03d-%s", n, strings.Repeat("x", 54)) }

// from dials global-dns from an address of this machine.
func (x *target) from(t testing.TB, network, address string) net.Conn {
	t.Helper()
	conn, err := x.dialFrom(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (x *target) dialFrom(network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.UDPAddr{IP: net.ParseIP(address)}}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(address)}
	}
	conn, err := dialer.Dial(network, x.dns)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(time.Minute))
	}
	return conn, err
}

// exchange sends a packet over UDP and returns the reply; none within a moment is nil.
func (x *target) exchange(t testing.TB, conn net.Conn, packet []byte, patience time.Duration) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 65535)
	n, err := conn.Read(buffer)
	if err != nil {
		return nil
	}
	return buffer[:n]
}

// framed puts the length in front of a message, as TCP has it.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

// next reads one message from TCP.
func next(conn net.Conn) ([]byte, error) { return (&dns.Conn{Conn: conn}).ReadMsgHeader(nil) }

// query packs one question.
func query(name string, rrtype uint16, change ...func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	m.SetQuestion(name, rrtype)
	for _, f := range change {
		f(m)
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

var plain = query("web.svc.mesh.internal.", dns.TypeA)

// works sees that a well-behaved client gets its answer within a time, at once over
// UDP and over TCP.
func (x *target) works(t testing.TB, within time.Duration) {
	t.Helper()
	began := time.Now()
	for _, network := range []string{"udp", "tcp"} {
		conn := x.from(t, network, "127.0.9.9")
		var reply []byte
		if network == "udp" {
			reply = x.exchange(t, conn, plain, within)
		} else if _, err := conn.Write(framed(plain)); err == nil {
			reply, _ = next(conn)
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
			t.Errorf("a client that behaves gets %v over %s: %v", m, network, err)
		}
		_ = conn.Close()
	}
	if took := time.Since(began); took > within {
		t.Errorf("a client that behaves waited %v", took)
	}
}

// status reads what the system says of the process: its memory in bytes (VmRSS), and
// how many files it has open.
func (x *target) status(t testing.TB) (memory, files int) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", x.process.command.Process.Pid)
	text, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatalf("global-dns is gone: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	memory, err = strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	return memory << 10, len(open)
}

// unharmed sees that nothing inside failed, and that the process is the same one.
func (x *target) unharmed(t *testing.T) {
	t.Helper()
	x.works(t, 2*time.Second)
	if n := x.metric(t, "seamark_dns_notes_total", `what="panic"`); n > 0 {
		t.Errorf("%v answers panicked", n)
	}
}

// A real global-dns withstands what the network may send: each kind of it has its
// reply, or none; it stays up, and within its memory and its files. It runs alone: the
// bounds are on what it takes while nothing else makes it wait.
func TestHostileDNS(t *testing.T) {
	x := newTarget(t)
	before, files := x.status(t)
	t.Logf("before: %d MiB, %d files", before>>20, files)
	for _, part := range []struct {
		name string
		run  func(*target, *testing.T)
	}{
		{"packets", (*target).packets},
		{"cookies", (*target).cookies},
		{"signatures", (*target).signatures},
		{"ports", (*target).spoofed},
		{"exposure", (*target).exposure},
		{"too large", (*target).tooLarge},
		{"streams", (*target).streams},
		{"no files", (*target).noFiles},
		{"overload", (*target).overload},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.run(x, t)
			x.unharmed(t)
			memory, open := x.status(t)
			t.Logf("after: %d MiB, %d files", memory>>20, open)
			if grown := memory - before; grown > 160<<20 { // with the race detector
				t.Errorf("the memory has grown by %d MiB to %d MiB", grown>>20, memory>>20)
			}
		})
	}
	x.eventually(t, 10*time.Second, "the connections are closed", func() error {
		if _, open := x.status(t); open > files+5 {
			return fmt.Errorf("%d files are open, and were %d before", open, files)
		}
		return nil
	})
	t.Run("end", x.endsInTime)
}
