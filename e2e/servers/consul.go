package servers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// ConsulServer is a real Consul server agent, the only one of its datacenter dc1, with its data on disk.
type ConsulServer struct {
	*Process
	Addr   string // 127.0.0.1:port of the plain listener
	HTTP   string // "http://" and Addr
	HTTPS  string // https://127.0.0.1:port; empty without TLS
	CAFile string // the certificate authority of HTTPS, PEM; empty without TLS
	Token  string // may do everything; empty without ACLs
	Node   string // the agent's node name
}

// ConsulConfig says how a [ConsulServer] differs from the default. The zero value is one: plain HTTP, no ACLs.
type ConsulConfig struct {
	TLS  bool   // also listen for HTTPS, which speaks HTTP/2
	ACLs bool   // default deny
	HCL  string // further configuration, in HCL or JSON, merged over the rest
}

// Consul starts a server for one test. Where it cannot be had, the test ends as [Need] says.
func Consul(tb testing.TB, config ConsulConfig) *ConsulServer {
	tb.Helper()
	return forTest(tb, StartConsul, config)
}

// StartConsul starts a server which keeps everything below dir, and returns when it leads and its catalog answers. The
// context bounds the start only; the caller ends the server.
func StartConsul(ctx context.Context, dir string, config ConsulConfig) (*ConsulServer, error) {
	built, err := Build(ctx, "consul")
	if err != nil {
		return nil, err
	}
	return onFreePorts(ctx, func(ctx context.Context) (*ConsulServer, error) {
		ports, err := FreePorts(4)
		if err != nil {
			return nil, err
		}
		server, err := newConsul(dir, consulPorts{http: ports[0], https: ports[1], serf: ports[2], rpc: ports[3]}, config)
		if err != nil {
			return nil, err
		}
		server.path = filepath.Join(built, "consul")
		return server, server.Start(ctx)
	})
}

type consulPorts struct{ http, https, serf, rpc int }

// newConsul writes the configuration.
func newConsul(dir string, ports consulPorts, config ConsulConfig) (*ConsulServer, error) {
	addr := fmt.Sprintf("127.0.0.1:%d", ports.http)
	server := &ConsulServer{Addr: addr, HTTP: "http://" + addr, Node: fmt.Sprintf("consul-%d", ports.http)}
	settings := map[string]any{
		"server":               true,
		"bootstrap_expect":     1,
		"node_name":            server.Node,
		"data_dir":             filepath.Join(dir, "data"),
		"bind_addr":            "127.0.0.1",
		"client_addr":          "127.0.0.1",
		"disable_update_check": true,
		"performance":          map[string]any{"raft_multiplier": 1},
	}
	numbers := map[string]any{
		"http": ports.http, "https": -1, "dns": -1, "grpc": -1, "grpc_tls": -1,
		"serf_lan": ports.serf, "serf_wan": -1, "server": ports.rpc,
	}
	settings["ports"] = numbers
	if config.TLS {
		certificate, err := issueCertificate(dir)
		if err != nil {
			return nil, err
		}
		numbers["https"] = ports.https
		settings["tls"] = map[string]any{"https": map[string]any{
			"ca_file": certificate.caFile, "cert_file": certificate.certFile, "key_file": certificate.keyFile,
		}}
		server.HTTPS, server.CAFile = fmt.Sprintf("https://127.0.0.1:%d", ports.https), certificate.caFile
	}
	if config.ACLs {
		server.Token = newUUID()
		settings["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]any{"initial_management": server.Token, "agent": server.Token},
		}
	}
	text, err := json.MarshalIndent(settings, "", "\t")
	if err != nil {
		return nil, err
	}
	base, more := filepath.Join(dir, "consul.json"), filepath.Join(dir, "more.hcl")
	if err := errors.Join(os.WriteFile(base, text, 0o600), os.WriteFile(more, []byte(config.HCL), 0o600)); err != nil {
		return nil, err
	}
	server.Process = &Process{
		name: "consul server on " + addr, dir: dir,
		args:    []string{"agent", "-config-file", base, "-config-file", more},
		started: "Consul agent running!",
		answers: server.catalogAnswers,
	}
	return server, nil
}

// catalogAnswers asks for a leader, and then whether the leader's catalog knows the agent itself, which it puts there
// when it has taken over.
func (c *ConsulServer) catalogAnswers(ctx context.Context) error {
	leader, err := ask(ctx, http.DefaultClient, c.HTTP+"/v1/status/leader", c.Token)
	if err != nil {
		return err
	}
	if len(leader) <= len(`""`) {
		return errors.New("no leader is elected")
	}
	nodes, err := ask(ctx, http.DefaultClient, c.HTTP+"/v1/catalog/nodes", c.Token)
	if err != nil {
		return err
	}
	if !strings.Contains(string(nodes), `"`+c.Node+`"`) {
		return errors.New("the catalog does not know the server itself")
	}
	return nil
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func consulRecipe() recipe {
	return recipe{
		name:     "consul",
		what:     "Consul from its Go module (4 to 6 minutes on two cores)",
		programs: []string{"go"},
		enable:   "with access to a Go module proxy, run: go run ./e2e/servers/cmd/prepare consul",
		key: func(_ context.Context, source string) (string, error) {
			hash, err := hashFiles(filepath.Join(source, "consul"))
			return hash + "-" + runtime.Version() + "-" + runtime.GOOS + "-" + runtime.GOARCH, err
		},
		build: func(ctx context.Context, source, out string) error {
			// The checksum database lacks one of Consul's submodules; this module's own go.sum has all of them.
			return goBuild(ctx, filepath.Join(source, "consul"), filepath.Join(out, "consul"),
				"github.com/hashicorp/consul", "GONOSUMDB=github.com/hashicorp/*")
		},
	}
}
