package main

import (
	"net/netip"
	"reflect"

	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/cmd/internal/signing"
	"github.com/seamark-mesh/seamark/registry"
)

// Config is a valid configuration of one agent.
type Config struct {
	Cluster  registry.ClusterID
	Region   string // at most 63 bytes; "" = not said
	Zone     string // at most 63 bytes; "" = not said
	Labels   map[string]string
	NATS     config.NATS
	Source   Source
	Gateways Gateways
	Export   Export
	Probes   probing.Section
	Brake    Brake
	Signing  signing.Section
	HTTP     string // address to listen on

	Description config.Description // of all this, as the history may tell it
}

// Source says which registry the agent watches: exactly one is not nil.
type Source struct {
	Consul *Consul `yaml:"consul"`
	Nacos  *Nacos  `yaml:"nacos"`
	File   *File   `yaml:"file"`
}

// Kind returns the name of the registry: consul, nacos or file.
func (s Source) Kind() string {
	switch {
	case s.Consul != nil:
		return "consul"
	case s.Nacos != nil:
		return "nacos"
	}
	return "file"
}

// Consul says how to reach a Consul agent.
type Consul struct {
	Address    string        `yaml:"address" default:"http://127.0.0.1:8500" help:"URL of the Consul agent"`
	Token      config.Secret `yaml:"token"`
	TokenFile  config.Path   `yaml:"token_file" help:"file with the Consul ACL token"`
	Datacenter string        `yaml:"datacenter" help:"Consul datacenter; the agent's own when empty"`
	CA         config.Path   `yaml:"ca" help:"PEM file with the authorities that Consul's certificate is checked against"`
}

// Nacos says how to reach a Nacos cluster and what to take from it.
type Nacos struct {
	Servers      []string         `yaml:"servers" default:"127.0.0.1:8848" help:"addresses of the Nacos servers"`
	Namespaces   []NacosNamespace `yaml:"namespaces"`
	Username     string           `yaml:"username" help:"Nacos user"`
	Password     config.Secret    `yaml:"password"`
	PasswordFile config.Path      `yaml:"password_file" help:"file with the password of the Nacos user"`
}

// NacosNamespace is one namespace of Nacos and its name in the mesh.
type NacosNamespace struct {
	ID     string       `yaml:"id"` // "" is Nacos's public namespace
	As     string       `yaml:"as"` // namespace of the service keys
	Groups []NacosGroup `yaml:"groups"`
}

// NacosGroup is one group of a namespace. Its services get Suffix at the end of
// their names.
type NacosGroup struct {
	Name   string `yaml:"name"`
	Suffix string `yaml:"suffix"`
}

// File says where the catalog is.
type File struct {
	Path config.Path `yaml:"path" help:"YAML catalog of the cluster's services"`
}

// Gateways says which entrances the cluster has. Both kinds may be there.
type Gateways struct {
	Static  []registry.Gateway // clean: see registry.CleanGateways
	Service *GatewayService    // nil: none
	Allow   []netip.Prefix     // what gateways found in the registry may be beyond the usual
}

// GatewayService names the service whose healthy instances are the gateways.
type GatewayService struct {
	Name      string `yaml:"name" help:"service whose healthy instances are the gateways"`
	Namespace string `yaml:"namespace" default:"default" help:"namespace of that service"`
	PortName  string `yaml:"port_name" default:"http" help:"name of the gateways' port, for SRV"`
	Probe     *Probe `yaml:"probe"`
}

// Key returns the service's key.
func (g GatewayService) Key() registry.ServiceKey {
	return registry.ServiceKey{Namespace: g.Namespace, Name: g.Name}
}

// Export says which services leave the cluster, and under what name.
type Export struct {
	DefaultNone bool // what neither list names stays inside
	Include     []registry.Pattern
	Exclude     []registry.Pattern
	Rename      []Rename // sorted by From
	Redact      []registry.KeyPattern
}

// Rename gives the services that From covers the name that To makes of theirs:
// what the "*" of a half stood for stands where that half of To has its "*".
type Rename struct{ From, To registry.Pattern }

// document is the configuration as it is written.
type document struct {
	Cluster  string            `yaml:"cluster" help:"ClusterID: one DNS label, lower-case"`
	Region   string            `yaml:"region" help:"region of the cluster"`
	Zone     string            `yaml:"zone" help:"zone of the cluster within its region"`
	Labels   map[string]string `yaml:"labels" help:"labels of the cluster"`
	NATS     config.NATS       `yaml:"nats" private:"true"`
	Source   Source            `yaml:"source" private:"true"`
	Gateways struct {
		Static  []gateway       `yaml:"static"`
		Service *GatewayService `yaml:"service"`
		Allow   []netip.Prefix  `yaml:"allow" help:"networks that gateways found in the registry may lie in although they are loopback, link-local or metadata addresses"`
	} `yaml:"gateways"`
	Export struct {
		Default string            `yaml:"default" default:"all" help:"what leaves the cluster when no pattern decides: all or none"`
		Include []string          `yaml:"include" private:"true" help:"patterns of services that leave the cluster: namespace/name, * for any run of characters"`
		Exclude []string          `yaml:"exclude" private:"true" help:"patterns of services that stay inside"`
		Rename  map[string]string `yaml:"rename" private:"true" help:"patterns of services and what they are called outside: legacy/*=shop/*"`
		Redact  []string          `yaml:"redact" private:"true" help:"patterns of metadata keys that never leave the cluster, whatever service has them: *password*"`
	} `yaml:"export"`
	Probes  probing.Section `yaml:"probes"`
	Brake   Brake           `yaml:"brake"`
	Signing signing.Section `yaml:"signing"`
	HTTP    string          `yaml:"http" default:"127.0.0.1:8081" help:"address for /healthz, /readyz, /metrics and /v1/status"`
}

type gateway struct {
	Name      string         `yaml:"name"`
	Addresses []netip.Addr   `yaml:"addresses"`
	Ports     map[string]int `yaml:"ports"`
	Weight    int            `yaml:"weight" default:"1"`
	Probe     *Probe         `yaml:"probe"`
}

// Probe says how a gateway is probed; see [registry.Probe].
type Probe struct {
	Kind   string `yaml:"kind" default:"tcp" help:"how the gateways are probed: tcp, http, https or none"`
	Port   int    `yaml:"port" help:"port that is probed; the gateway's first by name when 0"`
	Path   string `yaml:"path" help:"path that is asked for, of kind http and https"`
	Host   string `yaml:"host" help:"host that is asked for, of kind http and https; the address when empty"`
	Status int    `yaml:"status" help:"status that is expected, of kind http and https; any of 200 to 399 when 0"`
}

// Registry returns what readers of the stream see of the probe; nil for nil, and for
// what is the default.
func (p *Probe) Registry() *registry.Probe {
	if p == nil || *p == (Probe{Kind: registry.ProbeTCP}) {
		return nil
	}
	out := registry.Probe(*p)
	return &out
}

// AddFlags declares a flag for every field that one text can give.
func AddFlags(flags *pflag.FlagSet) { config.AddFlags(flags, &document{}) }

// Load reads the configuration from the file at path (none when path is ""), the
// environment and the flags made by [AddFlags], and checks all of it. The Config
// is usable only when there are no faults.
func Load(path string, environ []string, flags *pflag.FlagSet) (Config, []config.Fault) {
	var d document
	r := config.Load(&d, path, environ, flags)
	c := d.config(r)
	c.Description = config.Describe(&d)
	return c, r.Faults()
}

// CheckFiles tells which of the files that the configuration names can't be read
// on this machine. The catalog is not among them: it may come later.
func (c Config) CheckFiles() []config.Fault {
	files := c.NATS.Files("nats")
	if s := c.Source.Consul; s != nil {
		files["source.consul.token_file"], files["source.consul.ca"] = s.TokenFile, s.CA
	}
	if s := c.Source.Nacos; s != nil {
		files["source.nacos.password_file"] = s.PasswordFile
	}
	return append(config.Unreadable(files), c.Signing.Unusable()...)
}

// Reloadable compares a new configuration with the one that runs. It returns the
// fields that differ and that only a restart can change; empty means that the
// new one can take effect at once. Region, zone, labels, gateways and export may
// change at any time.
func Reloadable(old, new Config) (changedFixed []string) {
	for _, f := range []struct {
		name     string
		old, new any
	}{
		{"cluster", old.Cluster, new.Cluster},
		{"nats", old.NATS, new.NATS},
		{"source", old.Source, new.Source},
		{"probes", old.Probes, new.Probes},
		{"brake", old.Brake, new.Brake},
		{"signing", old.Signing, new.Signing},
		{"http", old.HTTP, new.HTTP},
	} {
		if !reflect.DeepEqual(f.old, f.new) {
			changedFixed = append(changedFixed, f.name)
		}
	}
	return changedFixed
}
