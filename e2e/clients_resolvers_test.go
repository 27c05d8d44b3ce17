package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// resolvers are the caches between applications and global-dns.
func resolvers() []*client {
	unbound, named := program("unbound", "unbound"), program("named", "bind9")
	return []*client{
		{name: "Unbound, stub", need: unbound, within: cached, start: unboundWith("unbound-stub")},
		{name: "Unbound, forward", need: unbound, within: cached, start: unboundWith("unbound-forward")},
		{name: "BIND, forward", need: named, within: cached, start: startBINDForward},
		{name: "BIND, static stub", alone: true, need: both(named, needNamespace), within: cached, start: startBINDStub},
		{name: "CoreDNS, forward and cache", need: needCoreDNS, within: cached, start: startCoreDNS},
		{name: "Consul, recursors", need: func(t *testing.T) { servers.Need(t, "consul") }, within: directly, start: startConsulRecursor},
	}
}

func both(needs ...func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		for _, need := range needs {
			need(t)
		}
	}
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	ports, err := servers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

// port is that on which global-dns listens besides 53.
func (s *shore) dnsPort() string { return s.dns[len("127.0.0.1:"):] }

// rootKey is the root zone's key signing key of 2017, so that resolvers validate.
const rootKey = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"

// unboundWith starts Unbound with a snippet. It validates, and minimises names.
func unboundWith(snippet string) func(*testing.T, *shore) asking {
	return func(t *testing.T, s *shore) asking {
		t.Helper()
		port := freePort(t)
		zone := s.clientSnippet(t, snippet, "192.0.2.1@5300", "127.0.0.1@"+s.dnsPort(), "192.0.2.2@5300", "127.0.0.2@"+s.dnsPort())
		config := s.config(t, snippet+"/unbound.conf", fmt.Sprintf(`
server:
    interface: 127.0.0.1@%d
    do-daemonize: no
    chroot: ""
    username: ""
    directory: %q
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    num-threads: 1
    module-config: "validator iterator"
    trust-anchor: %q
    qname-minimisation: yes
    qname-minimisation-strict: yes
    harden-below-nxdomain: yes
    do-not-query-localhost: no
remote-control:
    control-enable: no
%s`, port, filepath.Join(s.dir, snippet), rootKey, zone))
		runSecondary(t, &secondary{name: snippet, log: config + ".log"}, servers.NeedProgram(t, "unbound", "unbound"), "-d", "-c", config)
		return s.resolver(t, snippet, fmt.Sprintf("127.0.0.1:%d", port))
	}
}

// startBINDForward runs a BIND that forwards the zone; startBINDStub, one that
// resolves it from port 53, with names minimised.
func startBINDForward(t *testing.T, s *shore) asking {
	t.Helper()
	return startBIND(t, s, "bind-forward", "192.0.2.1 port 5300", "127.0.0.1 port "+s.dnsPort(), "192.0.2.2 port 5300", "127.0.0.2 port "+s.dnsPort())
}

func startBINDStub(t *testing.T, s *shore) asking {
	t.Helper()
	return startBIND(t, s, "bind-static-stub", "192.0.2.1; 192.0.2.2", s.inside.outside)
}

func startBIND(t *testing.T, s *shore, snippet string, pairs ...string) asking {
	t.Helper()
	port, dir := freePort(t), filepath.Join(s.dir, snippet)
	pairs = append(pairs, "options {", fmt.Sprintf(`trust-anchors { . static-ds 20326 8 2 "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"; };
controls { };
options {
    directory %q;
    pid-file none;
    session-keyfile none;
    listen-on port %d { 127.0.0.1; };
    listen-on-v6 { none; };
    recursion yes;
    allow-query { any; };
    dnssec-validation yes;`, dir, port))
	config := s.config(t, snippet+"/named.conf", s.clientSnippet(t, snippet, pairs...))
	runSecondary(t, &secondary{name: snippet, log: config + ".log"}, servers.NeedProgram(t, "named", "bind9"), "-g", "-4", "-c", config)
	return s.resolver(t, snippet, fmt.Sprintf("127.0.0.1:%d", port))
}

// coreDNS is its program; empty where nobody has built it.
func coreDNS(t *testing.T) string {
	t.Helper()
	program, err := servers.CoreDNS()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		return ""
	}
	return program
}

// needCoreDNS ends the test where CoreDNS was not built before: that takes longer than
// all tests together, so it is never required.
func needCoreDNS(t *testing.T) {
	t.Helper()
	if coreDNS(t) == "" {
		notRun(t, "CoreDNS was not built before, which takes ten minutes", "make bench ONLY=dns", false)
	}
}

func startCoreDNS(t *testing.T, s *shore) asking {
	t.Helper()
	port := freePort(t)
	config := s.config(t, "coredns/Corefile", s.clientSnippet(t, "coredns",
		"mesh.internal:53 {", fmt.Sprintf("mesh.internal:%d {\n    bind 127.0.0.1", port),
		"192.0.2.1:5300 192.0.2.2:5300", "127.0.0.1:"+s.dnsPort()+" 127.0.0.2:"+s.dnsPort()))
	runSecondary(t, &secondary{name: "CoreDNS", log: config + ".log"}, coreDNS(t), "-conf", config)
	return s.resolver(t, "CoreDNS", fmt.Sprintf("127.0.0.1:%d", port))
}

func startConsulRecursor(t *testing.T, s *shore) asking {
	t.Helper()
	port := freePort(t)
	servers.Consul(t, servers.ConsulConfig{HCL: fmt.Sprintf("ports { dns = %d }\n%s", port, s.clientSnippet(t, "consul",
		"192.0.2.1:5300", "127.0.0.1:"+s.dnsPort(), "192.0.2.2:5300", "127.0.0.2:"+s.dnsPort()))})
	return s.resolver(t, "Consul", fmt.Sprintf("127.0.0.1:%d", port))
}
