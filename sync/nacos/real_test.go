package nacos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
)

// TestPersistentInstances: everything that can happen to them, on a real server.
func TestPersistentInstances(t *testing.T) {
	server, a := open(t)
	const name = "persistent-orders"
	a.create(t, public, name, "0")
	first, second := instance{ip: "192.0.2.1", port: 80}, instance{ip: "192.0.2.2", port: 80}
	a.register(t, public, name, first)
	t.Cleanup(func() { a.deregister(t, public, name, first) })
	w := watching(t, mustNew(t, oneGroup(t, server.Addr)))
	w.until(t, name, "192.0.2.1 passing*1")

	a.register(t, public, name, second)
	w.until(t, name, "192.0.2.1 passing*1, 192.0.2.2 passing*1")
	for _, step := range []struct {
		change instance
		want   string
	}{
		{instance{ip: "192.0.2.2", port: 80, weight: "5"}, "192.0.2.1 passing*1, 192.0.2.2 passing*5"},
		{instance{ip: "192.0.2.2", port: 80, weight: "0.2"}, "192.0.2.1 passing*1, 192.0.2.2 passing*1"},
		{instance{ip: "192.0.2.2", port: 80, weight: "0"}, "192.0.2.1 passing*1, 192.0.2.2 passing*0"},
		{instance{ip: "192.0.2.2", port: 80, off: true}, "192.0.2.1 passing*1"},
		{instance{ip: "192.0.2.2", port: 80}, "192.0.2.1 passing*1, 192.0.2.2 passing*1"},
		{instance{ip: "192.0.2.2", port: 80, ill: true}, "192.0.2.1 passing*1, 192.0.2.2 critical*1"},
		{instance{ip: "192.0.2.2", port: 80, meta: `{"version":"2.0","team":"red"}`}, "192.0.2.1 passing*1, 192.0.2.2 passing*1"},
	} {
		a.register(t, public, name, step.change)
		w.until(t, name, step.want)
	}
	eventually(t, 10*time.Second, func() string {
		snapshot, _ := w.last()
		i := snapshot.Service(registry.ServiceKey{Namespace: "default", Name: name}).Instances[1]
		if i.Version != "2.0" || i.Meta["team"] != "red" || len(i.Meta) != 1 || i.ID != public.id(name, second) {
			return fmt.Sprintf("%+v", i)
		}
		return ""
	})
	a.deregister(t, public, name, second)
	w.until(t, name, "192.0.2.1 passing*1")
	a.deregister(t, public, name, first)
	w.until(t, name, "absent")
	a.register(t, public, name, first)
	w.until(t, name, "192.0.2.1 passing*1")
}

// TestProtectThreshold makes a real Nacos lie about health.
func TestProtectThreshold(t *testing.T) {
	server, a := open(t)
	const name = "protected-orders"
	a.create(t, public, name, "0.6")
	well := instance{ip: "192.0.2.1", port: 80}
	ill := instance{ip: "192.0.2.2", port: 80, ill: true}
	third := instance{ip: "192.0.2.3", port: 80}
	for _, i := range []instance{well, ill, third} {
		a.register(t, public, name, i)
		t.Cleanup(func() { a.deregister(t, public, name, i) })
	}
	s := mustNew(t, oneGroup(t, server.Addr))
	w := watching(t, s)
	w.until(t, name, "192.0.2.1 passing*1, 192.0.2.2 critical*1, 192.0.2.3 passing*1")
	third.ill = true // one of three is left, fewer than 0.6
	a.register(t, public, name, third)
	w.until(t, name, "192.0.2.1 unknown*1, 192.0.2.2 unknown*1, 192.0.2.3 unknown*1")
	read, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := brief(read, name); !strings.Contains(got, "unknown") {
		t.Errorf("Read says %s", got)
	}
	third.ill = false
	a.register(t, public, name, third)
	w.until(t, name, "192.0.2.1 passing*1, 192.0.2.2 critical*1, 192.0.2.3 passing*1")
}

// TestEphemeralInstances: they leave with their connection, all at once.
func TestEphemeralInstances(t *testing.T) {
	server, _ := open(t)
	names := []string{"ephemeral-orders", "ephemeral-stock"}
	applications := newRegistrar(t, server, "")
	for _, name := range names {
		applications.put(t, public.group, name, instance{ip: "192.0.2.1", port: 80}, instance{ip: "192.0.2.2", port: 80, ill: true})
	}
	w := watching(t, mustNew(t, oneGroup(t, server.Addr)))
	for _, name := range names {
		w.until(t, name, "192.0.2.1 passing*1, 192.0.2.2 critical*1")
	}
	// All ill: a service that nobody created has no protect threshold.
	applications.put(t, public.group, names[0], instance{ip: "192.0.2.1", port: 80, ill: true})
	w.until(t, names[0], "192.0.2.1 critical*1")
	applications.close()
	for _, name := range names {
		w.until(t, name, "absent")
	}
	applications.connect(t)
	w.until(t, names[0], "192.0.2.1 critical*1")
	w.until(t, names[1], "192.0.2.1 passing*1, 192.0.2.2 critical*1")
}

// TestNamespacesAndGroups reads three groups of two namespaces, and two services
// that meet.
func TestNamespacesAndGroups(t *testing.T) {
	server, a := open(t)
	shop := place{"shop-7", "DEFAULT_GROUP"}
	payment := place{"public", "PAYMENT"}
	ignored := place{"public", "IGNORED"}
	add := func(p place, name, ip string) {
		i := instance{ip: ip, port: 80}
		a.create(t, p, name, "0")
		a.register(t, p, name, i)
		t.Cleanup(func() { _, _ = a.try(http.MethodDelete, "/instance", p.query(name, i)) })
	}
	add(public, "card", "192.0.2.1")
	add(payment, "card", "192.0.2.2")
	add(shop, "card", "192.0.2.3")
	add(ignored, "card", "192.0.2.4")
	var told refusals
	c := oneGroup(t, server.Addr)
	c.Refused = told.add
	c.Namespaces = []Namespace{
		{As: "default", Groups: []Group{{Name: "DEFAULT_GROUP"}, {Name: "PAYMENT", Suffix: "-payment"}}},
		{ID: "shop-7", As: "shop", Groups: []Group{{Name: "DEFAULT_GROUP"}}},
	}
	s := mustNew(t, c)
	w := watching(t, s)
	w.until(t, "card", "192.0.2.1 passing*1")
	w.until(t, "card-payment", "192.0.2.2 passing*1")
	snapshot, _ := w.last()
	if got := snapshot.Service(registry.ServiceKey{Namespace: "shop", Name: "card"}); got == nil || got.Instances[0].Address != "192.0.2.3" {
		t.Errorf("shop/card is %+v", got)
	}
	for service := range snapshot.Services() {
		for _, i := range service.Instances {
			if i.Address == "192.0.2.4" {
				t.Errorf("%s comes from a group that is not read", service.Key)
			}
		}
	}

	add(public, "card-payment", "192.0.2.5")
	w.until(t, "card-payment", "192.0.2.5 passing*1")
	if told.reasons()["group-conflict"] != 1 {
		t.Errorf("refused %v", told.reasons())
	}
	read, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := brief(read, "card-payment"); got != "192.0.2.5 passing*1" {
		t.Errorf("Read says %s", got)
	}
	a.deregister(t, public, "card-payment", instance{ip: "192.0.2.5", port: 80})
	w.until(t, "card-payment", "192.0.2.2 passing*1")
	a.deregister(t, payment, "card", instance{ip: "192.0.2.2", port: 80})
	w.until(t, "card-payment", "absent")
}

// TestManyServicesAtOnce registers 200 services while a Watch runs, and starts
// another on them.
func TestManyServicesAtOnce(t *testing.T) {
	server, _ := open(t)
	s := mustNew(t, oneGroup(t, server.Addr))
	w := watching(t, s)
	eventually(t, 10*time.Second, func() string {
		if _, n := w.last(); n == 0 {
			return "no snapshot"
		}
		return ""
	})
	applications := newRegistrar(t, server, "")
	start := time.Now()
	for n := range 200 {
		applications.put(t, public.group, fmt.Sprint("many-", n), instance{ip: "192.0.2.1", port: 1000 + n})
	}
	registered := time.Since(start)
	all := func(snapshot registry.Snapshot) int {
		n := 0
		for service := range snapshot.Services() {
			if strings.HasPrefix(service.Key.Name, "many-") {
				n++
			}
		}
		return n
	}
	eventually(t, 20*time.Second, func() string {
		if last, _ := w.last(); all(last) != 200 {
			return fmt.Sprintf("%d of 200 services", all(last))
		}
		return ""
	})
	t.Logf("200 services registered in %v, all seen after %v", registered, time.Since(start))

	start = time.Now()
	second := watching(t, mustNew(t, oneGroup(t, server.Addr)))
	eventually(t, 20*time.Second, func() string {
		if _, n := second.last(); n == 0 {
			return "no snapshot"
		}
		return ""
	})
	t.Logf("a new Watch has them after %v", time.Since(start))
	second.mu.Lock()
	if got := all(second.all[0]); got != 200 {
		t.Errorf("the first snapshot has %d of 200 services", got)
	}
	second.mu.Unlock()
	start = time.Now()
	read, err := s.Read(t.Context())
	if err != nil || all(read) != 200 {
		t.Errorf("Read has %d of 200 services: %v", all(read), err)
	}
	t.Logf("Read took %v", time.Since(start))
}

// TestNaNDoesNotStopTheOthers: the weight that takes the SDK's client down.
func TestNaNDoesNotStopTheOthers(t *testing.T) {
	server, a := open(t)
	good := instance{ip: "192.0.2.1", port: 80}
	bad := instance{ip: "192.0.2.2", port: 80, weight: "NaN"}
	for _, name := range []string{"nan-orders", "nan-stock"} {
		a.create(t, public, name, "0")
		a.register(t, public, name, good)
		t.Cleanup(func() { a.deregister(t, public, name, good) })
	}
	var told refusals
	c := oneGroup(t, server.Addr)
	c.Refused = told.add
	w := watching(t, mustNew(t, c))
	w.until(t, "nan-orders", "192.0.2.1 passing*1")
	a.register(t, public, "nan-orders", bad)
	t.Cleanup(func() { a.deregister(t, public, "nan-orders", bad) })
	a.register(t, public, "nan-orders", instance{ip: "192.0.2.1", port: 80, weight: "3"})
	w.until(t, "nan-orders", "192.0.2.1 passing*3")
	a.register(t, public, "nan-stock", instance{ip: "192.0.2.1", port: 80, weight: "4"})
	w.until(t, "nan-stock", "192.0.2.1 passing*4")
	if told.reasons()["instance-weight"] != 1 {
		t.Errorf("refused %v", told.reasons())
	}
}

// TestRestart kills Nacos and starts it again: nothing is withdrawn, the Watch
// says so, and the next one is full, of persistent and ephemeral instances.
func TestRestart(t *testing.T) {
	server := servers.Nacos(t, servers.NacosConfig{})
	a := api{"http://" + server.Addr + "/nacos/v1/ns"}
	// A real port, because after a restart Nacos begins to check health anew.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	stays := instance{ip: "127.0.0.1", port: listener.Addr().(*net.TCPAddr).Port}
	a.register(t, public, "restart-persistent", stays)
	applications := newRegistrar(t, server, "")
	applications.put(t, public.group, "restart-ephemeral", instance{ip: "192.0.2.2", port: 80})
	s := mustNew(t, oneGroup(t, server.Addr))
	w := watching(t, s)
	full := func(s registry.Snapshot) bool {
		return brief(s, "restart-persistent") == "127.0.0.1 passing*1" && brief(s, "restart-ephemeral") == "192.0.2.2 passing*1"
	}
	eventually(t, 10*time.Second, func() string {
		if last, _ := w.last(); !full(last) {
			return "not full"
		}
		return ""
	})

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	err = w.ends(t, 10*time.Second)
	t.Logf("Watch ended %v after the kill: %v", time.Since(killed), err)
	if err := watching(t, s).ends(t, 10*time.Second); err == nil {
		t.Error("a Watch works without a server")
	}
	if _, err := s.Read(t.Context()); err == nil {
		t.Error("Read works without a server")
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := watching(t, s)
	time.Sleep(time.Second) // an application notices later than we
	applications.connection.close()
	applications.connect(t)
	eventually(t, 20*time.Second, func() string {
		if _, n := again.last(); n == 0 {
			return "no snapshot"
		}
		return ""
	})
	for _, w := range []*running{w, again} {
		w.mu.Lock()
		if !slices.ContainsFunc(w.all, full) {
			t.Error("never full")
		}
		seen := false
		for n, snapshot := range w.all {
			if seen = seen || full(snapshot); (seen || w == again) && !full(snapshot) {
				t.Errorf("snapshot %d is not full: %s and %s", n, brief(snapshot, "restart-persistent"), brief(snapshot, "restart-ephemeral"))
			}
		}
		w.mu.Unlock()
	}
}

// TestHungServer freezes Nacos: connections stay open and nothing answers.
func TestHungServer(t *testing.T) {
	server, _ := open(t)
	applications := newRegistrar(t, server, "")
	applications.put(t, public.group, "hung-orders", instance{ip: "192.0.2.1", port: 80})
	s := mustNew(t, oneGroup(t, server.Addr))
	w := watching(t, s)
	w.until(t, "hung-orders", "192.0.2.1 passing*1")
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	resume := func() {
		if err := server.Resume(); err != nil {
			t.Error(err)
		}
	}
	defer func() { resume() }()
	err := w.ends(t, 20*time.Second)
	t.Logf("Watch ended %v after the freeze: %v", time.Since(paused), err)

	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errOver)
	defer cancel()
	start := time.Now()
	if err := s.Watch(ctx, func(registry.Snapshot) { t.Error("a snapshot of a frozen server") }); err != errOver {
		t.Errorf("Watch returned %v, want the context's cause", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Watch returned %v after its start, its context ended after 0.3 s", took)
	}
	if last, _ := w.last(); brief(last, "hung-orders") == "absent" {
		t.Error("the freeze withdrew an instance")
	}
	resume()
	resume = func() {}
	watching(t, s).until(t, "hung-orders", "192.0.2.1 passing*1")
}
