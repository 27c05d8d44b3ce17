package consul

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
)

// modes runs a test in every mode, against one Consul.
func modes(t *testing.T, run func(t *testing.T, d *driver, config Config)) {
	t.Helper()
	server := servers.Consul(t, servers.ConsulConfig{TLS: true})
	d := newDriver(t, server)
	for _, mode := range []Mode{ModeHints, ModePerService} {
		t.Run(string(mode), func(t *testing.T) {
			run(t, d, Config{Address: server.HTTPS, CAFile: server.CAFile, Mode: mode})
		})
	}
	t.Run(string(ModeSweep), func(t *testing.T) { run(t, d, Config{Address: server.HTTP, Mode: ModeSweep}) })
}

func plain(id string) registry.Instance {
	return registry.Instance{ID: id, Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Passing}
}

func TestSameIDMovesToAnotherName(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, d *driver, config Config) {
		source, _ := newSource(t, config)
		from, to := "from-"+string(config.Mode), "to-"+string(config.Mode)
		d.register(t, registration("mover", from, plain("moves-"+from)))
		d.register(t, registration("mover", from, plain("stays-"+from)))
		w := startWatcher(t, source, nil)
		w.until(t, "both", has(from, 2))
		for range 3 {
			d.register(t, registration("mover", to, plain("moves-"+from)))
			w.until(t, "the move", func(s registry.Snapshot) bool { return has(from, 1)(s) && has(to, 1)(s) })
			d.register(t, registration("mover", from, plain("moves-"+from)))
			w.until(t, "the move back", func(s registry.Snapshot) bool { return has(from, 2)(s) && has(to, 0)(s) })
		}
	})
}

func TestNodeDeregistered(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, d *driver, config Config) {
		source, _ := newSource(t, config)
		name := func(n int) string { return fmt.Sprintf("on-node-%s-%d", config.Mode, n) }
		for n := range 20 {
			d.register(t, registration("leaves", name(n), plain(name(n))))
		}
		d.register(t, registration("remains", name(0), plain("other")))
		w := startWatcher(t, source, nil)
		w.until(t, "all", func(s registry.Snapshot) bool { return has(name(0), 2)(s) && has(name(19), 1)(s) })
		d.deregister(t, &api.CatalogDeregistration{Node: "leaves"})
		w.until(t, "the node's end", func(s registry.Snapshot) bool {
			for n := 1; n < 20; n++ {
				if !has(name(n), 0)(s) {
					return false
				}
			}
			return has(name(0), 1)(s)
		})
		d.register(t, registration("leaves", name(3), plain(name(3))))
		w.until(t, "the node's return", has(name(3), 1))
	})
}

func TestNodeAddressChanges(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, d *driver, config Config) {
		source, _ := newSource(t, config)
		name := "readdressed-" + string(config.Mode)
		i := plain(name)
		i.Address = ""
		r := registration("readdressed", name, i)
		d.register(t, r)
		w := startWatcher(t, source, nil)
		address := func(want string) func(registry.Snapshot) bool {
			return func(s registry.Snapshot) bool { return has(name, 1)(s) && instances(s, name)[0].Address == want }
		}
		w.until(t, "the node's address", address("203.0.113.1"))
		r.Address = "203.0.113.2"
		d.register(t, r)
		w.until(t, "the new address", address("203.0.113.2"))
		r.TaggedAddresses = map[string]string{"wan": "203.0.113.3"}
		d.register(t, r)
		w.until(t, "the WAN address", address("203.0.113.3"))
	})
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, d *driver, config Config) {
		source, _ := newSource(t, config)
		name, agent := "maintained-"+string(config.Mode), d.client.Agent()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(agent.ServiceRegister(&api.AgentServiceRegistration{ID: name, Name: name, Port: 80}))
		w := startWatcher(t, source, nil)
		w.until(t, "the service", healthOf(name, registry.Passing))
		must(agent.EnableServiceMaintenance(name, "upgrade"))
		w.until(t, "service maintenance", healthOf(name, registry.Critical))
		must(agent.DisableServiceMaintenance(name))
		w.until(t, "its end", healthOf(name, registry.Passing))
		must(agent.EnableNodeMaintenance("upgrade"))
		w.until(t, "node maintenance", healthOf(name, registry.Critical))
		must(agent.DisableNodeMaintenance())
		w.until(t, "its end", healthOf(name, registry.Passing))
		must(agent.ServiceDeregister(name))
		w.until(t, "the end", has(name, 0))
	})
}

func TestNamesAreFoldedAndMerged(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, d *driver, config Config) {
		source, _ := newSource(t, config)
		name := "Merged-" + string(config.Mode)
		d.register(t, registration("merger", name, plain("upper"+name)))
		w := startWatcher(t, source, nil)
		w.until(t, "one", has(fold(name), 1))
		d.register(t, registration("merger", fold(name), plain("lower"+name)))
		w.until(t, "both", has(fold(name), 2))
		if last, _, _ := w.latest(); instances(last, name) != nil {
			t.Errorf("%s is there besides %s", name, fold(name))
		}
		d.deregister(t, &api.CatalogDeregistration{Node: "merger", ServiceID: "upper" + name})
		w.until(t, "one again", has(fold(name), 1))
	})
}

// A restored snapshot brings back what was there and takes what came since; all
// indexes go back, and the queries that wait come back with the old state.
func TestSnapshotRestored(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, d *driver, config Config) {
		source, _ := newSource(t, config)
		stands, goes, comes := "stands-"+string(config.Mode), "goes-"+string(config.Mode), "comes-"+string(config.Mode)
		for n := range 10 {
			d.register(t, registration("restored", fmt.Sprintf("%s-%d", stands, n), plain(fmt.Sprintf("%s-%d", stands, n))))
		}
		d.register(t, registration("restored", goes, plain(goes)))
		saved, _, err := d.client.Snapshot().Save(nil)
		if err != nil {
			t.Fatal(err)
		}
		archive, err := io.ReadAll(saved)
		_ = saved.Close()
		if err != nil {
			t.Fatal(err)
		}
		w := startWatcher(t, source, func(s registry.Snapshot) string {
			for n := range 10 {
				if !has(fmt.Sprintf("%s-%d", stands, n), 1)(s) {
					return fmt.Sprintf("%s-%d is missing in a snapshot", stands, n)
				}
			}
			return ""
		})
		w.first(t)
		d.deregister(t, &api.CatalogDeregistration{Node: "restored", ServiceID: goes})
		d.register(t, registration("restored", comes, plain(comes)))
		w.until(t, "what came", func(s registry.Snapshot) bool { return has(goes, 0)(s) && has(comes, 1)(s) })
		if err := d.client.Snapshot().Restore(nil, bytes.NewReader(archive)); err != nil {
			t.Fatal(err)
		}
		w.until(t, "what was restored", func(s registry.Snapshot) bool { return has(goes, 1)(s) && has(comes, 0)(s) })
		d.register(t, registration("restored", comes, plain(comes)))
		w.until(t, "a change after that", has(comes, 1))
	})
}

// policy gives a token these rules.
func (d *driver) policy(t *testing.T, name, rules string) (token string, change func(rules string)) {
	t.Helper()
	acl := d.client.ACL()
	p, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: p.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.SecretID, func(rules string) {
		t.Helper()
		if _, _, err := acl.PolicyUpdate(&api.ACLPolicy{ID: p.ID, Name: name, Rules: rules}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	readServices = `service_prefix "" { policy = "read" } `
	readNodes    = `node_prefix "" { policy = "read" } `
)

// Whatever a token loses, nothing is withdrawn, and the Watch ends with an error
// that says what is missing.
func TestRightsLost(t *testing.T) {
	t.Parallel()
	server := servers.Consul(t, servers.ConsulConfig{ACLs: true, TLS: true})
	d := newDriver(t, server)
	for n := range 10 {
		name := fmt.Sprintf("guarded-%d", n)
		d.register(t, registration("guarded", name, plain(name)))
	}
	complete := func(s registry.Snapshot) string {
		for n := range 10 {
			if name := fmt.Sprintf("guarded-%d", n); !has(name, 1)(s) {
				return name + " is missing in a snapshot"
			}
		}
		return ""
	}
	tests := map[string]struct{ rules, want string }{
		"services": {readNodes, `service_prefix "" { policy = "read" }`},
		"nodes":    {readServices, `node_prefix "" { policy = "read" }`},
		"both":     {``, `service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }`},
	}
	for _, mode := range []Mode{ModeHints, ModePerService, ModeSweep} {
		config := Config{Address: server.HTTPS, CAFile: server.CAFile, Mode: mode}
		if mode == ModeSweep {
			config = Config{Address: server.HTTP, Mode: mode}
		}
		for lost, tt := range tests {
			t.Run(string(mode)+"/"+lost, func(t *testing.T) {
				token, change := d.policy(t, string(mode)+lost, readServices+readNodes)
				config.Token = func() (string, error) { return token, nil }
				source, _ := newSource(t, config)
				source.timing.rights = 500 * time.Millisecond
				source.timing.pulse = 100 * time.Millisecond
				w := startWatcher(t, source, complete)
				w.first(t)
				change(tt.rules)
				for range 3 { // changes that wake the watches meanwhile
					d.register(t, registration("guarded", "guarded-0", registry.Instance{ID: "guarded-0", Address: "192.0.2.2", Weight: 1, Health: registry.Passing, Meta: map[string]string{"m": lost + string(mode)}}))
				}
				if err := w.ends(t, 20*time.Second); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Watch ended with %v, want %s", err, tt.want)
				}
				if _, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Read gave %v, want %s", err, tt.want)
				}
				change(readServices + readNodes)
				w = startWatcher(t, source, complete)
				w.first(t)
			})
		}
	}
	t.Run("TokenDeleted", func(t *testing.T) {
		token, _ := d.policy(t, "deleted", readServices+readNodes)
		source, _ := newSource(t, Config{Address: server.HTTP, Token: func() (string, error) { return token, nil }})
		source.timing.rights, source.timing.pulse = 500*time.Millisecond, 100*time.Millisecond
		w := startWatcher(t, source, complete)
		w.first(t)
		found, _, err := d.client.ACL().TokenReadSelf(&api.QueryOptions{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.client.ACL().TokenDelete(found.AccessorID, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.ends(t, 20*time.Second); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("Watch ended with %v, want a 403", err)
		}
	})
	t.Run("NoToken", func(t *testing.T) {
		source, _ := newSource(t, Config{Address: server.HTTP})
		if err := startWatcher(t, source, complete).ends(t, 20*time.Second); err == nil || !strings.Contains(err.Error(), "service_prefix") {
			t.Errorf("Watch ended with %v", err)
		}
	})
}

// A right that is lost is noticed by the first read that misses something, not only
// by the regular self-test.
func TestRightsLostSaidAtOnce(t *testing.T) {
	t.Parallel()
	server := servers.Consul(t, servers.ConsulConfig{ACLs: true, TLS: true})
	d := newDriver(t, server)
	d.register(t, registration("guarded", "guarded", plain("guarded")))
	for _, mode := range []Mode{ModeHints, ModePerService} {
		t.Run(string(mode), func(t *testing.T) {
			token, change := d.policy(t, "at-once"+string(mode), readServices+readNodes)
			source, _ := newSource(t, Config{Address: server.HTTPS, CAFile: server.CAFile, Mode: mode, Token: func() (string, error) { return token, nil }})
			w := startWatcher(t, source, func(s registry.Snapshot) string {
				if !has("guarded", 1)(s) {
					return "the service is missing in a snapshot"
				}
				return ""
			})
			w.first(t)
			change(readNodes)
			again := plain("guarded")
			again.Meta = map[string]string{"m": string(mode)}
			d.register(t, registration("guarded", "guarded", again)) // wakes whatever watches it
			if err := w.ends(t, 10*time.Second); err == nil || !strings.Contains(err.Error(), `service_prefix "" { policy = "read" }`) {
				t.Errorf("Watch ended with %v", err)
			}
		})
	}
}

// Rights that are lost while nothing wakes a watch were noticed by the regular comparison
// and not told before the next regular test of the rights.
func TestRightsThatAComparisonMissesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	server := servers.Consul(t, servers.ConsulConfig{ACLs: true})
	d := newDriver(t, server)
	d.register(t, registration("guarded", "guarded", plain("guarded")))
	token, change := d.policy(t, "quiet", readServices+readNodes)
	source, _ := newSource(t, Config{Address: server.HTTP, Token: func() (string, error) { return token, nil }})
	source.timing.rights = time.Hour
	w := startWatcher(t, source, func(registry.Snapshot) string { return "" })
	w.first(t)
	change(readServices)
	if _, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "the token lacks rights") {
		t.Fatalf("Read gave %v", err)
	}
	if err := w.ends(t, 30*time.Second); err == nil || !strings.Contains(err.Error(), `node_prefix "" { policy = "read" }`) {
		t.Errorf("Watch ended with %v", err)
	}
}

// A service, or a node, that is denied to the token keeps its last state; the
// others go on.
func TestHiddenServiceStands(t *testing.T) {
	t.Parallel()
	server := servers.Consul(t, servers.ConsulConfig{ACLs: true, TLS: true})
	d := newDriver(t, server)
	denials := map[string]string{
		"service": `service "secret" { policy = "deny" } `,
		"node":    `node "vault" { policy = "deny" } `,
	}
	for _, mode := range []Mode{ModeHints, ModePerService, ModeSweep} {
		for denied, rule := range denials {
			t.Run(string(mode)+"/"+denied, func(t *testing.T) {
				d.register(t, registration("vault", "secret", plain("secret")))
				d.register(t, registration("open", "public", plain("public")))
				token, change := d.policy(t, "hidden"+denied+string(mode), readServices+readNodes)
				config := Config{Address: server.HTTPS, CAFile: server.CAFile, Mode: mode, Token: func() (string, error) { return token, nil }}
				if mode == ModeSweep {
					config.Address = server.HTTP
				}
				source, refused := newSource(t, config)
				w := startWatcher(t, source, func(s registry.Snapshot) string {
					if !has("secret", 1)(s) {
						return "the hidden service is missing in a snapshot"
					}
					return ""
				})
				w.first(t)
				change(readServices + readNodes + rule)
				again := registration("vault", "secret", plain("secret"))
				again.Service.Meta = map[string]string{"changed": denied + string(mode)}
				d.register(t, again) // wakes whatever watches it
				d.register(t, registration("open", "public", plain("more")))
				w.until(t, "the others", has("public", 2))
				read, err := source.Read(t.Context())
				if err != nil || !has("secret", 1)(read) {
					t.Errorf("Read: %v; it has the service: %t", err, has("secret", 1)(read))
				}
				if refused.count("hidden") == 0 {
					t.Errorf("nothing said that a service is hidden: %v", maps.Clone(refused.by))
				}
				w.stop(t)
				w = startWatcher(t, source, func(s registry.Snapshot) string {
					if !has("secret", 1)(s) {
						return "the hidden service is missing after another start"
					}
					return ""
				})
				w.first(t)
				w.stop(t)
				change(readServices + readNodes)
				d.deregister(t, &api.CatalogDeregistration{Node: "vault", ServiceID: "secret"})
				d.deregister(t, &api.CatalogDeregistration{Node: "open", ServiceID: "more"})
				w = startWatcher(t, source, nil) // now it is gone, and may be believed to be
				w.until(t, "its end", func(s registry.Snapshot) bool { return has("secret", 0)(s) && has("public", 1)(s) })
			})
		}
	}
}
