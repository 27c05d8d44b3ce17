package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/file"
)

// cluster is one of the three: its files, its gateway and its instances.
type cluster struct {
	name    string
	dir     string
	gateway netip.AddrPort // where the gateway listens
	logger  *slog.Logger

	snapshot atomic.Pointer[registry.Snapshot] // what the catalogue says
	turn     atomic.Uint64                     // round robin over the instances
}

// catalog is the file's shape, as the tour writes it.
type catalog struct {
	Services []catalogService `yaml:"services"`
}

type catalogService struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace,omitempty"`
	Instances []catalogInstance `yaml:"instances"`
}

type catalogInstance struct {
	ID      string `yaml:"id"`
	Address string `yaml:"address"`
	Port    int    `yaml:"port"`
	Health  string `yaml:"health,omitempty"`
	Version string `yaml:"version,omitempty"`
}

func (c *cluster) catalogPath() string { return filepath.Join(c.dir, "catalog.yaml") }
func (c *cluster) configPath() string  { return filepath.Join(c.dir, "edge-sync.yaml") }

// instance describes the n-th instance of a service in the cluster.
func (c *cluster) instance(n, base int, service string) catalogInstance {
	return catalogInstance{ID: fmt.Sprintf("%s-%d", service, n), Address: "127.0.0.1", Port: base + n, Health: "passing", Version: "1.0.0"}
}

// prepare writes the catalogue when there is none, and the agent's configuration.
func (c *cluster) prepare(nats, http string, portBase int) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(c.catalogPath()); errors.Is(err, os.ErrNotExist) {
		first := catalog{Services: []catalogService{{Name: "checkout", Instances: []catalogInstance{
			c.instance(1, portBase, "checkout"), c.instance(2, portBase, "checkout"),
		}}}}
		if err := c.write(first); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	config := map[string]any{
		"cluster": c.name,
		"region":  "demo",
		"nats":    map[string]any{"servers": []string{nats}},
		"source":  map[string]any{"file": map[string]any{"path": c.catalogPath()}},
		"gateways": map[string]any{"static": []map[string]any{{
			"name": "gw-1", "addresses": []string{c.gateway.Addr().String()}, "ports": map[string]int{"http": int(c.gateway.Port())},
		}}},
		"probes": probesOfLoopback,
		"http":   http,
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	head := "# The agent of the demo's cluster " + c.name + ". The demo writes this file anew at every start.\n"
	return os.WriteFile(c.configPath(), append([]byte(head), text...), 0o644)
}

// read returns the catalogue as it is.
func (c *cluster) read() (catalog, error) {
	text, err := os.ReadFile(c.catalogPath())
	if err != nil {
		return catalog{}, err
	}
	var all catalog
	if err := yaml.Unmarshal(text, &all); err != nil {
		return catalog{}, fmt.Errorf("%s: %w", c.catalogPath(), err)
	}
	return all, nil
}

// write replaces the catalogue in one step, as an editor does.
func (c *cluster) write(all catalog) error {
	text, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	head := "# The services of the demo's cluster " + c.name + ". Edit and save: DNS follows at once.\n" +
		"# health is passing, warning or critical. An instance on 127.0.0.1 is a real HTTP server that the demo runs.\n"
	next := c.catalogPath() + ".next"
	if err := os.WriteFile(next, append([]byte(head), text...), 0o644); err != nil {
		return err
	}
	return os.Rename(next, c.catalogPath())
}

// run serves the gateway, and a real HTTP server for every instance that the
// catalogue places on loopback, until ctx ends.
func (c *cluster) run(ctx context.Context) error {
	source, err := file.New(file.Config{Path: c.catalogPath(), Logger: c.logger, Refused: func(*registry.Refusal) {}})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running := instances{cluster: c, stop: map[string]context.CancelFunc{}, wg: &wg}
	wg.Go(func() {
		for ctx.Err() == nil {
			// The agent reports what is wrong with the file; here it is only read.
			_ = source.Watch(ctx, func(s registry.Snapshot) {
				c.snapshot.Store(&s)
				running.follow(ctx, s)
			})
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	listener, err := net.Listen("tcp", c.gateway.String())
	if err != nil {
		return fmt.Errorf("gateway of %s: %w", c.name, err)
	}
	return serve(ctx, listener, c.proxy())
}

// proxy is the gateway: it sends a request to a passing instance of the service
// that the request's host names.
func (c *cluster) proxy() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: r.In.Context().Value(targetKey{}).(string)})
			r.SetXForwarded()
		},
		ErrorLog: slog.NewLogLogger(c.logger.Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, rest, _ := strings.Cut(r.Host, ".")
		namespace := registry.DefaultNamespace
		if first, _, _ := strings.Cut(rest, "."); first != "svc" && first != "" {
			namespace = first
		}
		target, ok := c.pick(registry.ServiceKey{Namespace: namespace, Name: name})
		if !ok {
			http.Error(w, fmt.Sprintf("gateway of %s: no instance of %s serves", c.name, name), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Seamark-Cluster", c.name)
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, target)))
	})
}

type targetKey struct{}

func (c *cluster) pick(k registry.ServiceKey) (string, bool) {
	snapshot := c.snapshot.Load()
	if snapshot == nil || snapshot.Service(k) == nil {
		return "", false
	}
	var serving []registry.Instance
	for _, i := range snapshot.Service(k).Instances {
		if i.Serves() {
			serving = append(serving, i)
		}
	}
	if len(serving) == 0 {
		return "", false
	}
	i := serving[c.turn.Add(1)%uint64(len(serving))]
	return net.JoinHostPort(i.Address, strconv.Itoa(i.Port)), true
}

// instances runs an HTTP server for each instance on loopback. One goroutine
// calls follow.
type instances struct {
	cluster *cluster
	stop    map[string]context.CancelFunc // by address
	wg      *sync.WaitGroup
}

func (r *instances) follow(ctx context.Context, s registry.Snapshot) {
	wanted := map[string]registry.Instance{}
	for service := range s.Services() {
		for _, i := range service.Instances {
			if a, err := netip.ParseAddr(i.Address); err == nil && a.IsLoopback() && i.Port > 0 {
				wanted[net.JoinHostPort(i.Address, strconv.Itoa(i.Port))] = i
			}
		}
	}
	for address, stop := range r.stop {
		if _, ok := wanted[address]; !ok {
			stop()
			delete(r.stop, address)
		}
	}
	for address, i := range wanted {
		if r.stop[address] != nil {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			r.cluster.logger.Warn("an instance can't be served: another program may use its port", "cluster", r.cluster.name, "instance", i.ID, "err", err)
			continue
		}
		within, cancel := context.WithCancel(ctx)
		r.stop[address] = cancel
		r.wg.Go(func() {
			_ = serve(within, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, "%s in cluster %s\n", i.ID, r.cluster.name)
			}))
		})
	}
}

// serve answers HTTP until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
