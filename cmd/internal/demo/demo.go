package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"
)

// Options says where the demo lives, and what it runs.
type Options struct {
	Dir       string // catalogues, configurations, logs and the stream; made when absent
	DNS       string // host:port
	HTTP      string // host:port
	NATS      string // host:port
	TourOnly  bool   // end after the tour
	EdgeSync  string // path of the program
	GlobalDNS string // path of the program
	Out       io.Writer
	Logger    *slog.Logger
}

// Demo is the running mesh.
type Demo struct {
	options   Options
	clusters  []*cluster
	processes processes
}

// probesOfLoopback lets the daemons probe the demo's gateways: all of it is on loopback,
// which is not probed unless allowed.
var probesOfLoopback = map[string]any{"allow": []string{"127.0.0.0/8"}}

// gatewayPort is where the gateways listen, each on a loopback address of its own.
const gatewayPort = 8088

// Run builds the mesh, takes the tour, and stays until ctx ends, unless TourOnly.
// It has ended all it started when it returns. The error says what failed and
// what to do about it.
func Run(ctx context.Context, options Options) error {
	d := &Demo{options: options}
	for n, name := range []string{"amber", "bronze", "cobalt"} {
		d.clusters = append(d.clusters, &cluster{
			name: name, dir: filepath.Join(options.Dir, name), logger: options.Logger,
			gateway: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(n + 1), 1}), gatewayPort),
		})
	}
	if err := d.checkPorts(); err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(outer)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	stopNATS, err := d.startNATS()
	if err != nil {
		return err
	}
	defer stopNATS()
	defer d.processes.wait()
	defer cancel(nil)
	if err := d.start(ctx, cancel, &wg); err != nil {
		return err
	}
	fmt.Fprintf(options.Out, "Three clusters, one DNS: a tour of what happens.\n\n")
	t := tour{demo: d, out: options.Out}
	began := time.Now()
	switch err := t.run(ctx); {
	case outer.Err() != nil:
		return nil
	case err != nil && (options.TourOnly || ctx.Err() != nil):
		return fmt.Errorf("%w; the logs are in %s", err, options.Dir)
	case err != nil:
		fmt.Fprintf(options.Out, "\n%v; the logs are in %s\n", err, options.Dir)
	default:
		fmt.Fprintf(options.Out, "\nAll %d steps hold (%.0f s).\n", t.number, time.Since(began).Seconds())
	}
	if options.TourOnly {
		return nil
	}
	d.suggest()
	<-ctx.Done()
	if outer.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// start brings up clusters, agents and global-dns, and waits until it answers.
func (d *Demo) start(ctx context.Context, failed context.CancelCauseFunc, wg *sync.WaitGroup) error {
	natsURL := "nats://" + d.options.NATS
	for _, c := range d.clusters {
		address, err := freePort()
		if err != nil {
			return err
		}
		if err := c.prepare(natsURL, address, d.portBase(c)); err != nil {
			return fmt.Errorf("prepare cluster %s: %w", c.name, err)
		}
		wg.Go(func() {
			if err := c.run(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		})
	}
	config := filepath.Join(d.options.Dir, "global-dns.yaml")
	text, err := yaml.Marshal(map[string]any{
		"zone": map[string]any{
			"name": zone, "contact": "hostmaster." + zone,
			"nameservers": []map[string]any{{"name": "ns1." + zone, "addresses": []string{"127.0.0.1"}}},
		},
		"nats":    map[string]any{"servers": []string{natsURL}},
		"dns":     map[string]any{"listen": []string{d.options.DNS}},
		"streams": map[string]any{"manage": true, "replicas": 1},
		"probes":  probesOfLoopback,
		"http":    d.options.HTTP,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(config, append([]byte("# The demo's global-dns. Written anew at every start.\n"), text...), 0o644); err != nil {
		return err
	}
	if err := d.processes.start(ctx, "global-dns", filepath.Join(d.options.Dir, "global-dns.log"), d.options.GlobalDNS, "--config", config); err != nil {
		return err
	}
	for _, c := range d.clusters {
		if err := d.startAgent(ctx, c); err != nil {
			return err
		}
	}
	return d.waitReady(ctx)
}

func (d *Demo) startAgent(ctx context.Context, c *cluster) error {
	return d.processes.start(ctx, c.name, filepath.Join(c.dir, "edge-sync.log"), d.options.EdgeSync, "--config", c.configPath())
}

// waitReady waits until global-dns has caught up and every agent has spoken.
func (d *Demo) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		states, err := d.clusterStates(ctx)
		synced := 0
		for _, s := range states {
			if s.Phase == "synced" {
				synced++
			}
		}
		if err == nil && synced == len(d.clusters) {
			return nil
		}
		if name := d.processes.ended(); name != "" {
			return fmt.Errorf("%s ended at once: its log in %s says why", name, d.options.Dir)
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("not ready after %v: %d of %d clusters are synced (%v); the logs are in %s", patience, synced, len(d.clusters), err, d.options.Dir)
		}
	}
}

// clusterState is what the tour reads of /v1/clusters.
type clusterState struct {
	Cluster string `json:"cluster"`
	Phase   string `json:"phase"`
	Epoch   uint64 `json:"epoch"`
}

func (d *Demo) clusterStates(ctx context.Context) ([]clusterState, error) {
	var all struct {
		Clusters []clusterState `json:"clusters"`
	}
	err := d.get(ctx, "/v1/clusters", &all)
	return all.Clusters, err
}

// get asks global-dns by HTTP.
func (d *Demo) get(ctx context.Context, path string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.options.HTTP+path, nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(reply.Body, 4096)) // for the error's sentence
		return fmt.Errorf("%s: %s: %s", path, reply.Status, text)
	}
	return json.NewDecoder(reply.Body).Decode(v)
}

// checkPorts finds out what is taken before anything is started.
func (d *Demo) checkPorts() error {
	var faults []error
	check := func(network, address, flag string) {
		var err error
		if network == "udp" {
			var c net.PacketConn
			if c, err = net.ListenPacket(network, address); err == nil {
				c.Close()
			}
		} else {
			var l net.Listener
			if l, err = net.Listen(network, address); err == nil {
				l.Close()
			}
		}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			faults = append(faults, fmt.Errorf("%s %s is taken by another program: choose another address with %s", network, address, flag))
		case err != nil:
			faults = append(faults, fmt.Errorf("%s %s can't be used: %w; choose another address with %s", network, address, err, flag))
		}
	}
	check("udp", d.options.DNS, "--dns")
	check("tcp", d.options.DNS, "--dns")
	check("tcp", d.options.HTTP, "--http")
	check("tcp", d.options.NATS, "--nats")
	for _, c := range d.clusters {
		c.gateway = d.gatewayAddress(c)
	}
	return errors.Join(faults...)
}

// gatewayAddress prefers an address of the cluster's own on the usual port. Where
// the system has one loopback address only, or the port is taken, it takes what
// is free.
func (d *Demo) gatewayAddress(c *cluster) netip.AddrPort {
	for _, wanted := range []netip.AddrPort{c.gateway, netip.AddrPortFrom(c.gateway.Addr(), 0), netip.MustParseAddrPort("127.0.0.1:0")} {
		if l, err := net.Listen("tcp", wanted.String()); err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	return c.gateway
}

// startNATS runs a NATS server with JetStream in this process.
func (d *Demo) startNATS() (stop func(), err error) {
	if err := os.MkdirAll(d.options.Dir, 0o755); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(d.options.NATS)
	if err != nil {
		return nil, fmt.Errorf("--nats %s: %w", d.options.NATS, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("--nats %s: %w", d.options.NATS, err)
	}
	options := &server.Options{
		ServerName: "seamark-demo", Host: host, Port: number, NoSigs: true,
		JetStream: true, StoreDir: filepath.Join(d.options.Dir, "nats"), LogFile: filepath.Join(d.options.Dir, "nats.log"), Logtime: true,
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	s.ConfigureLogger()
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, fmt.Errorf("embedded NATS is not ready after 10 s; %s says why", options.LogFile)
	}
	return func() {
		s.Shutdown()
		s.WaitForShutdown()
	}, nil
}

// portBase is where the ports of a cluster's instances begin.
func (d *Demo) portBase(c *cluster) int {
	for n := range d.clusters {
		if d.clusters[n] == c {
			return 18010 + 10*n
		}
	}
	return 18000
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// suggest prints what to try.
func (d *Demo) suggest() {
	host, port, _ := net.SplitHostPort(d.options.DNS)
	amber := d.clusters[0]
	fmt.Fprintf(d.options.Out, `
The mesh stays up. Try, in another terminal:

  dig @%[1]s -p %[2]s checkout.svc.mesh.internal                 # all clusters that can serve it
  dig @%[1]s -p %[2]s _http._tcp.checkout.svc.mesh.internal SRV  # with the gateways' ports
  dig @%[1]s -p %[2]s checkout.default.amber.cluster.mesh.internal
  curl -H 'Host: checkout.svc.mesh.internal' http://%[3]s/
  bin/seamark --server http://%[4]s clusters
  bin/seamark --server http://%[4]s resolve checkout.svc.mesh.internal --dns %[5]s

Edit and save %[6]s: DNS follows at once.
Ctrl-C ends everything; what is in %[7]s stays.
`, host, port, amber.gateway, d.options.HTTP, d.options.DNS, amber.catalogPath(), d.options.Dir)
}
