package servers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// NATSServer is a real NATS server with JetStream on disk.
type NATSServer struct {
	*Process
	URL     string // nats://127.0.0.1:port
	Monitor string // http://127.0.0.1:port, the server's monitoring endpoints
}

// NATSConfig says how a [NATSServer] differs from the default. The zero value is one: a single server, no accounts.
type NATSConfig struct {
	// Domain is the JetStream domain, for a leaf node. Empty: none.
	Domain string
	// Config is appended to the server's configuration file: accounts, leaf nodes, TLS and the like. It must leave
	// the server's log on standard error. For a cluster take the route ports from [FreePorts]; a clustered server
	// counts as ready before it has found the others.
	Config string
}

// NATS starts a server for one test. Where it cannot be had, the test ends as [Need] says.
func NATS(tb testing.TB, config NATSConfig) *NATSServer {
	tb.Helper()
	return forTest(tb, StartNATS, config)
}

// StartNATS starts a server which keeps everything below dir, and returns when it takes clients. The context bounds the
// start only; the caller ends the server.
func StartNATS(ctx context.Context, dir string, config NATSConfig) (*NATSServer, error) {
	built, err := Build(ctx, "nats")
	if err != nil {
		return nil, err
	}
	return onFreePorts(ctx, func(ctx context.Context) (*NATSServer, error) {
		ports, err := FreePorts(2)
		if err != nil {
			return nil, err
		}
		client, monitor := ports[0], ports[1]
		file := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(file, []byte(natsConfigFile(client, monitor, dir, config)), 0o600); err != nil {
			return nil, err
		}
		server := &NATSServer{
			URL:     fmt.Sprintf("nats://127.0.0.1:%d", client),
			Monitor: fmt.Sprintf("http://127.0.0.1:%d", monitor),
		}
		server.Process = &Process{
			name: fmt.Sprintf("nats server on port %d", client), dir: dir,
			path: filepath.Join(built, "nats-server"), args: []string{"--config", file},
			started: "Server is ready",
			answers: func(ctx context.Context) error {
				_, err := ask(ctx, http.DefaultClient, server.Monitor+"/healthz?js-enabled-only=true", "")
				return err
			},
		}
		return server, server.Start(ctx)
	})
}

// natsConfigFile is the configuration; in it a later setting overrides an earlier one.
func natsConfigFile(client, monitor int, dir string, config NATSConfig) string {
	domain := ""
	if config.Domain != "" {
		domain = fmt.Sprintf(", domain: %q", config.Domain)
	}
	return fmt.Sprintf(`server_name: "nats-%d"
listen: "127.0.0.1:%d"
http: "127.0.0.1:%d"
jetstream { store_dir: %q%s }
%s
`, client, client, monitor, filepath.Join(dir, "jetstream"), domain, config.Config)
}

func natsRecipe() recipe {
	const module = "github.com/nats-io/nats-server/v2"
	return recipe{
		name:     "nats",
		what:     "the NATS server from its Go module (half a minute)",
		programs: []string{"go"},
		enable:   "with access to a Go module proxy, run: go run ./e2e/servers/cmd/prepare nats",
		key: func(ctx context.Context, source string) (string, error) {
			version, err := command(ctx, source, nil, "go", "list", "-m", "-f", "{{.Version}}", module)
			return version + "-" + runtime.Version() + "-" + runtime.GOOS + "-" + runtime.GOARCH, err
		},
		build: func(ctx context.Context, source, out string) error {
			return goBuild(ctx, source, filepath.Join(out, "nats-server"), module)
		},
	}
}
