package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/cmd/internal/refusals"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/sync/consul"
	"github.com/seamark-mesh/seamark/sync/edge"
	"github.com/seamark-mesh/seamark/sync/file"
	"github.com/seamark-mesh/seamark/sync/nacos"
)

// grace is how long the parts may take to end; a stop publishes what is waiting.
const grace = 15 * time.Second

// daemon is what the parts of edge-sync share.
type daemon struct {
	config  Config
	process *proc.Process
	metrics *prometheus.Registry
	reloads *prometheus.CounterVec
	refused *refusals.Recorder
	agent   atomic.Pointer[edge.Agent] // nil until NATS was reached once
	wanted  atomic.Pointer[edge.Settings]
	mode    func() string // how the source watches; "" when it has but one way
	invalid func() error  // what the source can't use although an older reading stands; nil when all is well
}

// run joins the agent's parts and runs them until ctx ends.
func run(ctx context.Context, c Config, p *proc.Process) error {
	d := &daemon{config: c, process: p, metrics: proc.NewMetrics("edge-sync"), mode: func() string { return "" }, invalid: func() error { return nil }}
	first := settings(c)
	d.wanted.Store(&first)
	d.refused = refusals.New(d.metrics, "seamark_edge_refused_total", "What the registry or the configuration offers and is not published, by reason.", p.Logger)
	d.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "seamark_edge_reloads_total",
		Help: "Attempts to take up a changed configuration, by result.",
	}, []string{"result"})
	d.metrics.MustRegister(d.reloads)
	source, err := d.source()
	if err != nil {
		return err
	}
	server, err := proc.Listen(ctx, proc.HTTPConfig{
		Address: c.HTTP, Ready: d.ready, Metrics: d.metrics, Logger: p.Logger,
		Routes: map[string]http.Handler{"GET /v1/status": http.HandlerFunc(d.status)},
	})
	if err != nil {
		return err
	}
	return proc.Run(ctx, p.Logger, grace,
		proc.Part{Name: "http", Run: server.Run},
		proc.Part{Name: "agent", Run: func(ctx context.Context) error { return d.runAgent(ctx, source) }},
		proc.Part{Name: "reload", Run: d.watchConfig},
	)
}

// source makes the one source that the configuration names.
func (d *daemon) source() (edge.Source, error) {
	logger := d.process.Logger.With("source", d.config.Source.Kind())
	switch s := d.config.Source; {
	case s.Consul != nil:
		config := consul.Config{
			Address: s.Consul.Address, Datacenter: s.Consul.Datacenter, TokenFile: string(s.Consul.TokenFile),
			CAFile: string(s.Consul.CA), Logger: logger, Refused: d.refused.Refused,
		}
		if token := s.Consul.Token.Reveal(); token != "" {
			config.Token = func() (string, error) { return token, nil }
		}
		source, err := consul.New(config)
		if err != nil {
			return nil, err
		}
		d.mode = func() string { return string(source.Mode()) }
		return source, nil
	case s.Nacos != nil:
		config := nacos.Config{Servers: s.Nacos.Servers, Username: s.Nacos.Username, Logger: logger, Refused: d.refused.Refused}
		if s.Nacos.Username != "" {
			config.Password = d.nacosPassword
		}
		for _, n := range s.Nacos.Namespaces {
			namespace := nacos.Namespace{ID: n.ID, As: n.As}
			for _, g := range n.Groups {
				namespace.Groups = append(namespace.Groups, nacos.Group{Name: g.Name, Suffix: g.Suffix})
			}
			config.Namespaces = append(config.Namespaces, namespace)
		}
		source, err := nacos.New(config)
		if err != nil {
			return nil, err
		}
		return source, nil
	}
	source, err := file.New(file.Config{Path: string(d.config.Source.File.Path), Logger: logger, Refused: d.refused.Refused})
	if err != nil {
		return nil, err
	}
	d.invalid = source.LastError
	return source, nil
}

// nacosPassword reads the password anew at every log-in.
func (d *daemon) nacosPassword() (string, error) {
	s := d.config.Source.Nacos
	if s.PasswordFile == "" {
		return s.Password.Reveal(), nil
	}
	text, err := os.ReadFile(string(s.PasswordFile))
	return strings.TrimSpace(string(text)), err
}

// runAgent connects and runs the agent until ctx ends.
func (d *daemon) runAgent(ctx context.Context, source edge.Source) error {
	n := d.config.NATS
	conn, err := stream.Connect(ctx, stream.ConnectConfig{
		Servers: n.Servers, Name: "edge-sync " + string(d.config.Cluster), Credentials: string(n.Credentials),
		CA: string(n.CA), Cert: string(n.Cert), Key: string(n.Key), Logger: d.process.Logger,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return proc.Hint(fmt.Errorf("nats: %w", err), "look at the nats section of the configuration")
	}
	defer conn.Close()
	if err := d.config.Signing.Begin(conn, d.process.Logger); err != nil {
		return err
	}
	self := newIdentity("/proc")
	first, name := d.wanted.Load(), self.String()
	agent, err := edge.New(edge.Config{
		Cluster: d.config.Cluster, Agent: name, Version: proc.Version(), Source: d.config.Source.Kind(),
		Logger: d.process.Logger.With("cluster", string(d.config.Cluster)), Refused: d.refused.Refused, Brake: d.config.Brake.rules(), Ended: self.ended,
	}, *first, source, conn.Writer(registry.Writer(d.config.Cluster)))
	if err != nil {
		return err
	}
	d.metrics.MustRegister(newCollector(agent, d.mode), newBrakeCollector(agent))
	d.agent.Store(agent)
	if latest := d.wanted.Load(); latest != first { // it came while there was no agent to tell
		agent.Reload(*latest)
	}
	return proc.Run(ctx, d.process.Logger, grace, append(d.probes(agent, conn, name), proc.Part{Name: "agent", Run: agent.Run})...)
}

// settings are the parts of the configuration that may change while it runs.
func settings(c Config) edge.Settings {
	s := edge.Settings{
		Region: c.Region, Zone: c.Zone, Labels: c.Labels, Gateways: c.Gateways.Static, Allow: c.Gateways.Allow,
		Export: edge.ExportPolicy{DefaultNone: c.Export.DefaultNone, Include: c.Export.Include, Exclude: c.Export.Exclude, Redact: c.Export.Redact},
	}
	s.Configuration = registry.Configuration{Revision: c.Description.Revision(), Fields: c.Description.Fields()}
	if g := c.Gateways.Service; g != nil {
		s.FromService = &edge.GatewayService{Key: g.Key(), PortName: g.PortName, Probe: g.Probe.Registry()}
	}
	for _, r := range c.Export.Rename {
		s.Export.Rename = append(s.Export.Rename, edge.Rename{From: r.From, To: r.To})
	}
	return s
}

// watchConfig takes up what may change without a restart.
func (d *daemon) watchConfig(ctx context.Context) error {
	p, running := d.process, d.config
	return p.Reloads(ctx, func(why string) {
		next, faults := Load(p.Path, p.Environ, p.Flags)
		if len(faults) > 0 {
			d.reloads.WithLabelValues("refused").Inc()
			p.Logger.Error("the new configuration is refused, the old one stays", "why", why, "faults", len(faults), "err", proc.Faults(faults))
			return
		}
		if fixed := Reloadable(running, next); len(fixed) > 0 {
			d.reloads.WithLabelValues("refused").Inc()
			p.Logger.Error("the new configuration is refused: these fields need a restart", "why", why, "fields", fixed)
			return
		}
		if reflect.DeepEqual(running, next) {
			return
		}
		wanted := settings(next)
		d.wanted.Store(&wanted)
		if agent := d.agent.Load(); agent != nil {
			agent.Reload(wanted)
		}
		running = next
		d.reloads.WithLabelValues("applied").Inc()
		p.Logger.Info("the new configuration is in force", "why", why)
	})
}

// ready tells why this agent can't do its work; nil when it can. A standby that
// knows the registry is ready.
func (d *daemon) ready() error {
	agent := d.agent.Load()
	if agent == nil {
		return errors.New("NATS was not reached yet")
	}
	switch s := agent.Status(); {
	case !s.RegistryKnown && s.RegistryFault != nil:
		return fmt.Errorf("the registry was not read yet: %w", s.RegistryFault)
	case !s.RegistryKnown:
		return errors.New("the registry was not read yet")
	case s.Role == edge.Leader && s.Synced.IsZero():
		return errors.New("not everything is published yet")
	}
	return nil
}

// status answers /v1/status.
func (d *daemon) status(w http.ResponseWriter, _ *http.Request) {
	type registryStatus struct {
		Source string `json:"source"`
		Mode   string `json:"mode,omitempty"`
		Known  bool   `json:"known"`
		Fault  string `json:"fault,omitempty"`
	}
	out := struct {
		Ready    bool               `json:"ready"`
		Cluster  registry.ClusterID `json:"cluster"`
		Version  string             `json:"version"`
		Role     edge.Role          `json:"role"`
		Holder   string             `json:"holder,omitempty"`
		Phase    registry.Phase     `json:"phase,omitempty"`
		Epoch    uint64             `json:"epoch"`
		Revision uint64             `json:"revision"`
		Services int                `json:"services"`
		Pending  int                `json:"pending"`
		Gateways int                `json:"gateways"`
		Digest   registry.Digest    `json:"digest"`
		Registry registryStatus     `json:"registry"`
		Brake    *brakeStatus       `json:"brake,omitempty"`
		Orders   string             `json:"orders_fault,omitempty"`
	}{
		Ready: d.ready() == nil, Cluster: d.config.Cluster, Version: proc.Version(), Role: edge.Standby,
		Registry: registryStatus{Source: d.config.Source.Kind(), Mode: d.mode()},
	}
	if agent := d.agent.Load(); agent != nil {
		s := agent.Status()
		out.Role, out.Holder, out.Phase, out.Epoch, out.Revision = s.Role, s.Holder, s.Phase, s.Epoch, s.Revision
		out.Services, out.Pending, out.Gateways, out.Digest = s.Keys, s.Pending, s.Gateways, s.Digest
		out.Brake = heldBack(s.Brake)
		if s.OrdersFault != nil {
			out.Orders = s.OrdersFault.Error()
		}
		out.Registry.Known = s.RegistryKnown
		if fault := cmp.Or(s.RegistryFault, d.invalid()); fault != nil {
			out.Registry.Fault = fault.Error()
		}
	}
	proc.JSON(w, out)
}
