package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
)

// maxText bounds region and zone, in bytes.
const maxText = 63

// config checks the document and gives its values their types.
func (d *document) config(r *config.Report) Config {
	c := Config{
		Cluster: registry.ClusterID(d.Cluster), Region: d.Region, Zone: d.Zone, Labels: d.Labels,
		NATS: d.NATS, Source: d.Source, Probes: d.Probes, Brake: d.Brake, Signing: d.Signing, HTTP: d.HTTP,
	}
	d.checkCluster(r)
	d.NATS.Check(r, "nats")
	d.checkSource(r)
	c.Gateways = d.gateways(r)
	c.Export = d.export(r)
	d.Probes.Check(r, "probes")
	d.Brake.check(r)
	config.CheckListen(r, "http", d.HTTP)
	return c
}

func (d *document) checkCluster(r *config.Report) {
	if d.Cluster == "" {
		r.Add("cluster", "is missing; give the cluster a name of its own, one DNS label, for example amber")
	} else if _, err := registry.ParseClusterID(d.Cluster); err != nil {
		r.Add("cluster", "%v", err)
	}
	for field, text := range map[string]string{"region": d.Region, "zone": d.Zone} {
		if len(text) > maxText {
			r.Add(field, "has %d bytes, more than %d", len(text), maxText)
		}
	}
	if len(d.Labels) > registry.MaxClusterLabels {
		r.Add("labels", "%d labels, more than %d", len(d.Labels), registry.MaxClusterLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(d.Labels)) {
		value := d.Labels[key]
		if key == "" || len(key) > registry.MaxMetaKey || len(value) > registry.MaxMetaValue || !utf8.ValidString(key) {
			r.Add("labels", "label %.64q has a key of %d and a value of %d bytes; 1 to %d and 0 to %d are allowed",
				key, len(key), len(value), registry.MaxMetaKey, registry.MaxMetaValue)
		}
	}
}

func (d *document) checkSource(r *config.Report) {
	var given []string
	for name, there := range map[string]bool{"consul": d.Source.Consul != nil, "nacos": d.Source.Nacos != nil, "file": d.Source.File != nil} {
		if there {
			given = append(given, "source."+name)
		}
	}
	if s := d.Source.Consul; s != nil {
		s.check(r)
	}
	if s := d.Source.Nacos; s != nil {
		s.check(r)
	}
	if s := d.Source.File; s != nil && s.Path == "" {
		r.Add("source.file.path", "is missing; name the catalog, for example catalog.yaml")
	}
	slices.Sort(given) // last, because a fault in a section hides those of its parts
	switch {
	case len(given) == 0 && !r.Bad("source"):
		r.Add("source", "is missing; give exactly one of source.consul, source.nacos, source.file (one without settings is written consul: {})")
	case len(given) > 1:
		r.Add("source", "%s are given; a cluster has one registry: keep one of them", strings.Join(given, " and "))
	}
}

func (s *Consul) check(r *config.Report) {
	u, err := url.Parse(s.Address)
	switch {
	case err != nil || !consulURL(u):
		r.Add("source.consul.address", "this is no URL of a Consul agent; write for example http://127.0.0.1:8500 or unix:///run/consul.sock")
	case u.User != nil:
		r.Add("source.consul.address", "has a user in it; Consul takes a token: name its file in source.consul.token_file")
	case s.CA != "" && u.Scheme != "https":
		r.Add("source.consul.ca", "is given, but source.consul.address is not https")
	}
	if s.Token.Reveal() != "" && s.TokenFile != "" {
		r.Add("source.consul.token_file", "%s is given too; keep one of them", config.Variable("source.consul.token"))
	}
}

func consulURL(u *url.URL) bool {
	if u.Scheme == "unix" {
		return u.Host == "" && u.Path != "" && u.RawQuery == "" && u.Fragment == ""
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.RawQuery == "" && u.Fragment == ""
}

// nacosGroup is what Nacos takes for the name of a group.
var nacosGroup = regexp.MustCompile(`^[-_.:A-Za-z0-9]{1,128}$`)

func (s *Nacos) check(r *config.Report) {
	if len(s.Servers) == 0 {
		r.Add("source.nacos.servers", "no server is given; write for example [\"127.0.0.1:8848\"]")
	}
	for i, server := range s.Servers {
		host, port, err := net.SplitHostPort(server)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || strings.ContainsAny(host, "/@ ") || bad != nil || n == 0 || n > 65535-1000 { // the SDK speaks to port + 1000
			r.Add(fmt.Sprintf("source.nacos.servers[%d]", i), "%.64q is no address of a Nacos server; write host:port, for example 127.0.0.1:8848", server)
		}
	}
	password := s.Password.Reveal() != "" || s.PasswordFile != ""
	switch {
	case s.Password.Reveal() != "" && s.PasswordFile != "":
		r.Add("source.nacos.password_file", "%s is given too; keep one of them", config.Variable("source.nacos.password"))
	case s.Username != "" && !password:
		r.Add("source.nacos.username", "has no password; name its file in source.nacos.password_file or set %s", config.Variable("source.nacos.password"))
	case s.Username == "" && password:
		r.Add("source.nacos.password_file", "a password is given without source.nacos.username")
	}
	if len(s.Namespaces) == 0 && !r.Bad("source.nacos.namespaces") {
		s.Namespaces = []NacosNamespace{{}}
	}
	for i := range s.Namespaces {
		s.Namespaces[i].check(r, fmt.Sprintf("source.nacos.namespaces[%d]", i))
	}
	s.checkMeetings(r)
}

// check fills in what may be left out.
func (n *NacosNamespace) check(r *config.Report, field string) {
	if n.ID == "public" { // Nacos's other name for it
		n.ID = ""
	}
	if strings.ContainsAny(n.ID, " /@") {
		r.Add(field+".id", "%.64q is no id of a namespace", n.ID)
	}
	n.As = cmp.Or(n.As, n.ID, registry.DefaultNamespace)
	if _, err := registry.ParseServiceKey(n.As, "a"); err != nil {
		r.Add(field+".as", "%v", err)
	}
	if len(n.Groups) == 0 && !r.Bad(field+".groups") {
		n.Groups = []NacosGroup{{Name: "DEFAULT_GROUP"}}
	}
	for i, g := range n.Groups {
		at := fmt.Sprintf("%s.groups[%d]", field, i)
		if !nacosGroup.MatchString(g.Name) {
			r.Add(at+".name", "%.64q is no group of Nacos: 1 to 128 letters, digits and -_.: are allowed; write for example DEFAULT_GROUP", g.Name)
		}
		if _, err := registry.ParseServiceKey(n.As, "a"+g.Suffix); err != nil && !r.Bad(field+".as") {
			r.Add(at+".suffix", "%v", err)
		}
	}
}

// checkMeetings refuses two groups whose services would have the same key, or
// the same labels in the zone, when their names are equal.
func (s *Nacos) checkMeetings(r *config.Report) {
	type place struct{ id, group string }
	places, labels := make(map[place]string), make(map[registry.Labels]string)
	for i, n := range s.Namespaces {
		for j, g := range n.Groups {
			at := fmt.Sprintf("source.nacos.namespaces[%d].groups[%d]", i, j)
			if r.Bad(at) {
				continue
			}
			source, target := place{n.ID, g.Name}, registry.ServiceKey{Namespace: n.As, Name: "a" + g.Suffix}.Labels()
			if first, ok := places[source]; ok {
				r.Add(at, "group %q of namespace %q is given already as %s", g.Name, n.ID, first)
			} else if first, ok := labels[target]; ok {
				r.Add(at, "its services could meet those of %s: both become %q with suffix %q; give one of them another suffix", first, n.As, g.Suffix)
			}
			places[source], labels[target] = at, at
		}
	}
}

func (d *document) gateways(r *config.Report) Gateways {
	var static []registry.Gateway
	for i, g := range d.Gateways.Static {
		at := fmt.Sprintf("gateways.static[%d]", i)
		g.check(r, at)
		if first := slices.IndexFunc(d.Gateways.Static, func(o gateway) bool { return o.Name == g.Name }); first < i {
			r.Add(at+".name", "%.64q is the name of gateways.static[%d] too", g.Name, first)
		}
		if r.Bad(at) {
			continue
		}
		whole := registry.Gateway{Name: g.Name, Addresses: g.Addresses, Ports: g.Ports, Weight: g.Weight, Probe: g.Probe.Registry()}
		clean, refused := registry.CleanGateways([]registry.Gateway{whole}, true, nil)
		for _, refusal := range refused {
			r.Add(at, "%v", refusal)
		}
		static = append(static, clean...)
	}
	static, refused := registry.CleanGateways(static, true, nil) // what is wrong between them
	for _, refusal := range refused {
		r.Add("gateways.static", "%v", refusal)
	}
	if s := d.Gateways.Service; s != nil {
		if s.Name == "" {
			r.Add("gateways.service.name", "is missing; name the service whose instances are the gateways")
		} else if key, err := registry.ParseServiceKey(s.Namespace, s.Name); err != nil {
			r.Add("gateways.service", "%v", err)
		} else {
			s.Namespace = key.Namespace
		}
		if registry.Label(s.PortName) != s.PortName || s.PortName == "" || len(s.PortName) >= maxText {
			r.Add("gateways.service.port_name", "%.64q is not a DNS label of at most 62 bytes; write for example http", s.PortName)
		}
		s.Probe.check(r, "gateways.service.probe")
	}
	return Gateways{Static: static, Service: d.Gateways.Service, Allow: d.Gateways.Allow}
}

// check holds each field to the door by itself, so that all faults are told, each
// in its line.
func (g gateway) check(r *config.Report, at string) {
	door := func(field string, part registry.Gateway) {
		part.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})} // these have their own check
		_, refused := registry.CleanGateways([]registry.Gateway{part}, true, nil)
		for _, refusal := range refused {
			r.Add(at+field, "%v", refusal)
		}
	}
	door(".name", registry.Gateway{Name: g.Name})
	name := g.Name
	if r.Bad(at + ".name") {
		name = "gw" // for the checks of the other fields
	}
	door(".weight", registry.Gateway{Name: name, Weight: g.Weight})
	for _, port := range slices.Sorted(maps.Keys(g.Ports)) {
		door(".ports."+port, registry.Gateway{Name: name, Ports: map[string]int{port: g.Ports[port]}})
	}
	g.Probe.check(r, at+".probe")
	if len(g.Addresses) == 0 {
		r.Add(at+".addresses", "is missing; give the IP addresses that clients are to connect to")
	}
	for i, address := range g.Addresses {
		if err := registry.CheckGatewayAddress(address, true, nil); err != nil {
			r.Add(fmt.Sprintf("%s.addresses[%d]", at, i), "%v", err)
		}
	}
}

// check holds each field to the door by itself, as a gateway's.
func (p *Probe) check(r *config.Report, at string) {
	if p == nil {
		return
	}
	for _, part := range []struct {
		field string
		probe Probe
	}{
		{"kind", Probe{Kind: p.Kind}},
		{"port", Probe{Kind: p.Kind, Port: p.Port}},
		{"path", Probe{Kind: p.Kind, Path: p.Path}},
		{"host", Probe{Kind: p.Kind, Host: p.Host}},
		{"status", Probe{Kind: p.Kind, Status: p.Status}},
	} {
		if r.Bad(at + ".kind") {
			return // it decides about the others
		}
		g := registry.Gateway{Name: "gw", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}, Probe: part.probe.Registry()}
		_, refused := registry.CleanGateways([]registry.Gateway{g}, true, nil)
		for _, refusal := range refused {
			r.Add(at+"."+part.field, "%s", strings.TrimPrefix(refusal.Detail, "gateway gw: "))
		}
	}
}

func (d *document) export(r *config.Report) Export {
	e := Export{
		DefaultNone: d.Export.Default == "none",
		Include:     patterns(r, "export.include", d.Export.Include),
		Exclude:     patterns(r, "export.exclude", d.Export.Exclude),
	}
	if d.Export.Default != "all" && d.Export.Default != "none" {
		r.Add("export.default", "%.64q is neither all nor none", d.Export.Default)
	}
	for i, text := range d.Export.Redact {
		p, err := registry.ParseKeyPattern(text)
		if err != nil {
			r.Add(fmt.Sprintf("export.redact[%d]", i), "%v", err)
			continue
		}
		e.Redact = append(e.Redact, p)
	}
	for _, from := range slices.Sorted(maps.Keys(d.Export.Rename)) {
		rename := Rename{registry.Pattern(from), registry.Pattern(d.Export.Rename[from])}
		if err := rename.check(); err != nil {
			r.Add("export.rename."+from, "%v", err)
			continue
		}
		e.Rename = append(e.Rename, rename)
	}
	return e
}

func patterns(r *config.Report, field string, texts []string) []registry.Pattern {
	var all []registry.Pattern
	for i, text := range texts {
		p, err := registry.ParsePattern(text)
		if err != nil {
			r.Add(fmt.Sprintf("%s[%d]", field, i), "%v", err)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (n Rename) check() error {
	for _, p := range []registry.Pattern{n.From, n.To} {
		if _, err := registry.ParsePattern(string(p)); err != nil {
			return err
		}
	}
	fromNamespace, fromName, _ := strings.Cut(string(n.From), "/")
	toNamespace, toName, _ := strings.Cut(string(n.To), "/")
	for _, half := range []struct{ what, from, to string }{
		{"namespace", fromNamespace, toNamespace}, {"name", fromName, toName},
	} {
		a, b := strings.Count(half.from, "*"), strings.Count(half.to, "*")
		if a != b || a > 1 {
			return fmt.Errorf("%.64q → %.64q: the %s has %d and %d *; give both the same number, 0 or 1", n.From, n.To, half.what, a, b)
		}
	}
	_, err := registry.ParseServiceKey(strings.ReplaceAll(toNamespace, "*", "a"), strings.ReplaceAll(toName, "*", "a"))
	return err
}
