package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// namespace is a host of its own, connected to this one by a cable.
type namespace struct {
	name    string
	outside string // this host's address on the cable
	inside  string // the other host's
}

// mayMakeNamespace says why no namespace can be made here; "" when one can.
func mayMakeNamespace() string {
	switch {
	case runtime.GOOS != "linux":
		return "only Linux has network namespaces"
	case os.Geteuid() != 0:
		return "only root may make a network namespace"
	}
	probe := fmt.Sprintf("seamark-probe-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", probe).CombinedOutput(); err != nil {
		return fmt.Sprintf("no network namespace can be made: %s %v", bytes.TrimSpace(out), err)
	}
	if out, err := exec.Command("ip", "netns", "del", probe).CombinedOutput(); err != nil {
		return fmt.Sprintf("no network namespace can be removed: %s %v", bytes.TrimSpace(out), err)
	}
	return ""
}

func needNamespace(t *testing.T) {
	t.Helper()
	servers.NeedProgram(t, "ip", "iproute2")
	if reason := mayMakeNamespace(); reason != "" {
		notRun(t, reason, "run the tests as root on Linux, with CAP_SYS_ADMIN", servers.Required("ip"))
	}
}

// newNamespace makes a namespace for the test; nil where that can't be done.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	ip, err := exec.LookPath("ip")
	if mayMakeNamespace() != "" || err != nil {
		return nil
	}
	// 198.18.0.0/15 is for tests of networks (RFC 2544); port 53 there is nobody's.
	third, fourth := rand.IntN(256), 4*rand.IntN(64)
	n := &namespace{name: fmt.Sprintf("seamark-%d-%d", third, fourth)}
	n.outside, n.inside = fmt.Sprintf("198.18.%d.%d", third, fourth+1), fmt.Sprintf("198.18.%d.%d", third, fourth+2)
	cable := fmt.Sprintf("sm%d-%d", third, fourth)
	t.Cleanup(func() {
		_ = exec.Command(ip, "link", "del", cable+"o").Run() // its other end goes with it
		if out, err := exec.Command(ip, "netns", "del", n.name).CombinedOutput(); err != nil {
			t.Errorf("the namespace stays: %v: %s", err, out)
		}
	})
	for _, line := range []string{
		"netns add " + n.name, "link add " + cable + "o type veth peer name " + cable + "i",
		"link set " + cable + "i netns " + n.name, "addr add " + n.outside + "/30 dev " + cable + "o", "link set " + cable + "o up",
		"-n " + n.name + " addr add " + n.inside + "/30 dev " + cable + "i", "-n " + n.name + " link set " + cable + "i up", "-n " + n.name + " link set lo up",
	} {
		if out, err := exec.CommandContext(t.Context(), ip, strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	return n
}

// resolvConf gives the namespace a file that programs in it see as /etc/resolv.conf.
func (n *namespace) resolvConf(t *testing.T, text string) {
	t.Helper()
	dir := filepath.Join("/etc/netns", n.name)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if err := os.Remove("/etc/netns"); err != nil && !errors.Is(err, fs.ErrExist) { // stays when it holds others
			t.Log(err)
		}
	})
}

// run runs a program in the namespace.
func (n *namespace) run(ctx context.Context, program string, arguments ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.name, program}, arguments...)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return out, nil
}

// hosts are those that ask global-dns on port 53 by their resolv.conf alone.
func hosts() []*client {
	return []*client{
		{name: "glibc, getent", alone: true, need: both(needNamespace, program("getent", "libc-bin")), within: directly, start: startGetent},
		{name: "Go's resolver", alone: true, need: needNamespace, within: directly, start: startGo},
	}
}

func startGetent(t *testing.T, s *shore) asking {
	t.Helper()
	s.inside.resolvConf(t, s.clientSnippet(t, "resolv.conf", "192.0.2.1", s.inside.outside, "nameserver 192.0.2.2\n", ""))
	return func(ctx context.Context, service string) ([]string, error) {
		out, err := s.inside.run(ctx, "getent", "ahostsv4", service) // the search list completes the name
		if err != nil {
			return nil, err
		}
		return addressesIn(out)
	}
}

// goProgram looks a service up with nothing but the standard library.
const goProgram = `package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	addresses, err := net.DefaultResolver.LookupHost(context.Background(), os.Args[1])
	fmt.Println(addresses, err)
	for _, a := range addresses {
		fmt.Println(a)
	}
	_, services, err := net.DefaultResolver.LookupSRV(context.Background(), "http", "tcp", os.Args[1]+".svc.mesh.internal")
	for _, s := range services {
		fmt.Println("SRV", s.Target, s.Port)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
`

func startGo(t *testing.T, s *shore) asking {
	t.Helper()
	source, built := s.config(t, "lookup/main.go", goProgram), filepath.Join(s.dir, "lookup", "lookup")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", built, source)
	command.Env = append(os.Environ(), "CGO_ENABLED=0") // so that it can't use glibc
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return func(ctx context.Context, service string) ([]string, error) {
		out, err := s.inside.run(ctx, built, service)
		if err != nil {
			return nil, err
		}
		found, err := addressesIn(out)
		for _, address := range found {
			cluster := "amber"
			if address == gatewayOf["bronze"] {
				cluster = "bronze"
			}
			if srv := fmt.Sprintf("SRV gw-1.%s.gw.mesh.internal. %d", cluster, s.port); !slices.Contains(strings.Split(string(out), "\n"), srv) {
				return found, fmt.Errorf("no %q in %s", srv, out)
			}
		}
		return found, err
	}
}
