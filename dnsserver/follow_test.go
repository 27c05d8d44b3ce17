package dnsserver

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// following is a server without sockets that follows a store, in simulated time, and
// whose compiler can be held up.
type following struct {
	*Server
	store registry.Store
	fold  *registry.Fold
	held  bool // the next compilation waits
	let   chan struct{}
}

// follows runs a test with a server that answers from the tables of lookuptest.Harbours.
func follows(t *testing.T, test func(t *testing.T, f *following)) {
	synctest.Test(t, func(t *testing.T) {
		f := &following{fold: registry.NewFold(), let: make(chan struct{})}
		s, err := New(Config{Listen: []string{"127.0.0.1:0"}}, &f.store, newRecorder(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		f.Server = s
		s.compile = func(c *compile.Compiler, v *registry.View, delta registry.Delta) *compile.Table {
			if f.held {
				<-f.let
			}
			return c.Update(v, delta)
		}
		for _, m := range lookuptest.Harbours().Messages() {
			f.fold.Apply(m)
		}
		f.fold.Synced()
		f.store.Publish(f.fold.View())
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go s.follow(ctx, compile.NewCompiler())
		synctest.Wait()
		if f.fast() == "" {
			t.Fatal("the fast path does not answer to begin with")
		}
		test(t, f)
	})
}

// fast returns what the fast path says; "" when it gives no answer.
func (f *following) fast() string {
	out := make([]byte, compile.Room)
	query := build(header(1, 0, 0, 1), wireQuestion, wireOPT)
	length, _ := f.table.Load().Reply(out, query, &compile.Terms{Payload: 1232})
	m := new(dns.Msg)
	if length == 0 || m.Unpack(out[:length]) != nil {
		return ""
	}
	return m.String()
}

// publish shows a View and lets all happen that happens within a second.
func (f *following) publish(v *registry.View) {
	f.store.Publish(v)
	time.Sleep(time.Second)
	synctest.Wait()
}

// goOn lets the compilation end that is held up.
func (f *following) goOn() {
	f.held = false
	f.let <- struct{}{}
	synctest.Wait()
}

// TestLosingNATSKeepsTheFastPath: the mark of a View that is cut off made the complete
// path answer everything until all names were compiled anew, and so did its end.
func TestLosingNATSKeepsTheFastPath(t *testing.T) {
	follows(t, func(t *testing.T, f *following) {
		plain := f.fast()
		current := f.store.View()
		cut := current.CutOff(registry.Cut{Since: time.Now(), Reason: "the connection to NATS is lost"})
		f.held = true
		f.publish(cut)
		if got := f.fast(); got != plain {
			t.Errorf("while the cut-off View is compiled: %s", got)
		}
		f.goOn()
		if got := f.fast(); !strings.Contains(got, "EDE: 3 (Stale Answer): (as known at") || !strings.Contains(got, "\t2\tIN") {
			t.Errorf("cut off, the fast path says %s", got)
		}
		f.held = true
		f.publish(current)
		if got := f.fast(); !strings.Contains(got, "EDE: 3") {
			t.Errorf("while the current View is compiled: %s", got)
		}
		f.goOn()
		if got := f.fast(); got != plain {
			t.Errorf("current again: %s", got)
		}
	})
}

// TestAnotherStreamKeepsTheFastPath: a View of which nothing is known but that all may
// differ is compiled in full. The answers before it stand meanwhile, for two seconds at
// most: then the complete path gives the new ones.
func TestAnotherStreamKeepsTheFastPath(t *testing.T) {
	follows(t, func(t *testing.T, f *following) {
		before := f.table.Load().View()
		f.held = true
		next := registry.Inherit(before)
		next.Synced()
		v := next.View()
		f.publish(v)
		if f.fast() == "" || f.table.Load().View() != before {
			t.Errorf("after a second the fast path says %q", f.fast())
		}
		time.Sleep(longest)
		synctest.Wait()
		if f.fast() != "" || f.table.Load().View() != v {
			t.Errorf("after %s the answers of the older View stand", longest)
		}
		f.goOn()
		if f.fast() == "" || f.table.Load().View() != v {
			t.Error("compiled, the fast path does not answer")
		}
	})
}

// TestTableOfAnotherZoneDoesNotStand: names of the new zone are known at once, and those
// of the old one no more.
func TestTableOfAnotherZoneDoesNotStand(t *testing.T) {
	follows(t, func(t *testing.T, f *following) {
		world := lookuptest.Harbours()
		zone := lookuptest.Zone()
		zone.Name, zone.Nameservers, zone.Contact = "example.org.", nil, "root.example.org."
		world.Zone(zone)
		f.held = true
		v := world.View()
		f.publish(v)
		if f.fast() != "" || f.table.Load().View() != v {
			t.Error("the other zone's answers stand")
		}
		f.goOn()
	})
}

// TestUnsyncedTableDoesNotStand: what is known at last is told before it is compiled.
func TestUnsyncedTableDoesNotStand(t *testing.T) {
	follows(t, func(t *testing.T, f *following) {
		f.publish(registry.NewFold().View())
		f.held = true
		v := f.fold.View()
		f.publish(v)
		if f.table.Load().View() != v {
			t.Error("the View that is not synced stands")
		}
		f.goOn()
	})
}
