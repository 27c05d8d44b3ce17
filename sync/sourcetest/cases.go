package sourcetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"go.uber.org/goleak"
)

func firstSnapshot(t *testing.T, s suite) {
	var want []registry.Service
	for range 20 {
		want = append(want, s.put(t, service(s.unique("first"), 3)))
	}
	w := start(t, s.h.Source(t), want...)
	if wrong := differs(w.first(t, s.change), want); wrong != "" {
		t.Error(wrong)
	}
}

func registerAndDeregister(t *testing.T, s suite) {
	stands := s.bystander(t)
	w := start(t, s.h.Source(t), stands)
	w.first(t, s.change)
	asked := service(s.unique("comes"), 3)
	w.sees(t, s.change, s.put(t, asked))
	asked.Instances = asked.Instances[:2]
	w.sees(t, s.change, s.h.Put(t, asked))
	asked.Instances = asked.Instances[1:]
	w.sees(t, s.change, s.h.Put(t, asked))
}

func lastInstanceLeaves(t *testing.T, s suite) {
	stands, leaves := s.bystander(t), s.put(t, service(s.unique("leaves"), 1))
	w := start(t, s.h.Source(t), stands)
	w.sees(t, s.change, leaves)
	s.h.Remove(t, leaves.Key)
	w.seesGone(t, s.change, leaves.Key)
	w.sees(t, s.change, s.h.Put(t, service(leaves.Key, 2)))
	s.h.Remove(t, leaves.Key)
	w.seesGone(t, s.change, leaves.Key)
}

func healthFlips(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("health"), 2)
	w := start(t, s.h.Source(t), stands)
	w.sees(t, s.change, s.put(t, asked))
	for _, h := range []registry.Health{registry.Critical, registry.Passing, registry.Warning, registry.Critical, registry.Warning, registry.Passing} {
		if s.h.Supports(h) {
			w.sees(t, s.change, s.h.Put(t, with(asked, func(i *registry.Instance) { i.Health = h })))
		}
	}
}

func instanceChange(t *testing.T, s suite, change func(*registry.Instance)) {
	stands, asked := s.bystander(t), service(s.unique("changes"), 2)
	w := start(t, s.h.Source(t), stands)
	w.sees(t, s.change, s.put(t, asked))
	w.sees(t, s.change, s.h.Put(t, with(asked, change)))
	w.sees(t, s.change, s.h.Put(t, asked))
}

// quickChanges puts states as fast as the registry takes them: all different,
// one instance id throughout where the registry lets us choose it.
func quickChanges(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("quick"), 1)
	w := start(t, s.h.Source(t), stands)
	w.sees(t, s.change, s.put(t, asked))
	for range 3 {
		for _, change := range []func(*registry.Instance){
			func(i *registry.Instance) { i.Address = "198.51.100.9" },
			func(i *registry.Instance) { i.Port = 9999 },
			func(i *registry.Instance) { i.Weight = 5 },
			func(i *registry.Instance) { i.Meta = nil },
			func(i *registry.Instance) { i.Health, i.Version = registry.Critical, "3" },
		} {
			s.h.Put(t, with(asked, change))
		}
		w.sees(t, s.change, s.h.Put(t, with(asked, func(i *registry.Instance) { i.Address, i.Version = "198.51.100.10", "4" })))
	}
}

func leavesAndReturns(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("returns"), 1)
	w := start(t, s.h.Source(t), stands)
	w.sees(t, s.change, s.put(t, asked))
	for n := range 5 {
		s.h.Remove(t, asked.Key)
		w.sees(t, s.change, s.h.Put(t, with(asked, func(i *registry.Instance) { i.Port = 7000 + n })))
	}
	s.h.Remove(t, asked.Key)
	w.seesGone(t, s.change, asked.Key)
}

func flapping(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("flaps"), 2)
	w := start(t, s.h.Source(t), stands)
	w.sees(t, s.change, s.put(t, asked))
	tick := time.NewTicker(100 * time.Millisecond) // 10 Hz
	defer tick.Stop()
	ill := with(asked, func(i *registry.Instance) { i.Health = registry.Critical })
	for range 8 {
		<-tick.C
		s.h.Put(t, ill)
		<-tick.C
		s.h.Put(t, asked)
	}
	w.sees(t, s.change, s.h.Put(t, ill))
}

func burst(t *testing.T, s suite) {
	stands := s.bystander(t)
	w := start(t, s.h.Source(t), stands)
	w.first(t, s.change)
	var want []registry.Service
	var keys []registry.ServiceKey
	for range 300 {
		asked := service(s.unique("burst"), 2)
		want, keys = append(want, s.put(t, asked)), append(keys, asked.Key)
	}
	w.sees(t, 3*s.change, want...)
	for n, k := range keys {
		switch n % 3 {
		case 0:
			s.h.Remove(t, k)
		case 1:
			want[n] = s.h.Put(t, with(service(k, 2), func(i *registry.Instance) { i.Health = registry.Critical }))
		}
	}
	var left []registry.Service
	var gone []registry.ServiceKey
	for n := range want {
		if n%3 == 0 {
			gone = append(gone, keys[n])
		} else {
			left = append(left, want[n])
		}
	}
	w.sees(t, 3*s.change, left...)
	w.seesGone(t, 3*s.change, gone...)
}

func readEqualsWatch(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("read"), 3)
	source := s.h.Source(t)
	if read, err := source.Read(t.Context()); err != nil {
		t.Fatalf("Read before any Watch: %v", err)
	} else if wrong := differs(read, []registry.Service{stands}); wrong != "" {
		t.Fatalf("Read before any Watch: %s", wrong)
	}
	w := start(t, source, stands)
	w.sees(t, s.change, s.put(t, asked))
	w.sees(t, s.change, s.h.Put(t, with(asked, func(i *registry.Instance) { i.Health = registry.Critical })))
	deadline := time.Now().Add(s.change)
	for {
		read, err := source.Read(t.Context())
		if err != nil {
			t.Fatalf("Read while a Watch runs: %v", err)
		}
		last, _, news := w.latest()
		changes := slices.DeleteFunc(registry.Diff(last, read), func(c registry.Change) bool {
			return (c.Old == nil || len(c.Old.Instances) == 0) && (c.New == nil || len(c.New.Instances) == 0)
		})
		if len(changes) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Read and Watch differ: %s: watched %s, read %s", changes[0].Key, show(changes[0].Old), show(changes[0].New))
		}
		select { // what earlier cases took out may still be on its way
		case <-news:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func twoWatches(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("twice"), 2)
	source := s.h.Source(t)
	w := start(t, source, stands)
	leaves := s.put(t, service(s.unique("leaves"), 1))
	w.sees(t, s.change, s.put(t, asked), leaves)
	w.stop(t)
	changed := s.h.Put(t, with(asked, func(i *registry.Instance) { i.Weight = 9 }))
	s.h.Remove(t, leaves.Key)
	w = start(t, source, stands)
	w.sees(t, s.change, changed)
	w.seesGone(t, s.change, leaves.Key)
	w.sees(t, s.change, s.h.Put(t, asked))
}

func cancelIsClean(t *testing.T, s suite) {
	stands := s.bystander(t)
	source := s.h.Source(t)
	w := start(t, source, stands)
	w.first(t, s.change)
	w.stop(t)
	if !errors.Is(w.err, errCaseOver) {
		t.Errorf("Watch returned %v, want the context's cause", w.err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errCaseOver)
	if err := source.Watch(over, func(registry.Snapshot) {}); !errors.Is(err, errCaseOver) {
		t.Errorf("Watch with an ended context returned %v, want its cause", err)
	}
	options := []goleak.Option{goleak.IgnoreCurrent()}
	if r, ok := s.h.(Resident); ok {
		options = append(options, r.Residents()...)
	}
	for range 3 {
		w := start(t, source, stands)
		w.first(t, s.change)
		w.stop(t)
	}
	var leak error
	for range 5 { // Find waits about a second for goroutines that are just ending
		if leak = goleak.Find(options...); leak == nil {
			return
		}
	}
	t.Errorf("after three Watches: %v", leak)
}

func outage(t *testing.T, s suite) {
	var stand []registry.Service
	for range 10 {
		stand = append(stand, s.bystander(t))
	}
	source := s.h.Source(t)
	w := start(t, source, stand...)
	w.first(t, s.change)
	restore := s.h.Outage(t)
	select {
	case <-w.done:
	case <-time.After(s.outage):
		restore()
		t.Fatalf("Watch did not end within %v of the registry's outage", s.outage)
	}
	if w.err == nil || errors.Is(w.err, errCaseOver) {
		t.Errorf("Watch returned %v in an outage, want an error", w.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), s.outage)
	read, err := source.Read(ctx)
	cancel()
	if err == nil {
		t.Errorf("Read gave %d services in an outage, want an error", read.Len())
	}
	restore()
	deadline := time.Now().Add(s.outage)
	for { // as the agent does: Watch again until it works
		w := start(t, source, stand...)
		if w.begins(time.Until(deadline)) {
			w.sees(t, s.change, stand...)
			w.sees(t, s.change, s.put(t, service(s.unique("after"), 1)))
			return
		}
		if time.Now().After(deadline) {
			w.stop(t)
			t.Fatalf("no Watch works within %v of the outage's end: %v", s.outage, w.err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

func hostileNeighbours(t *testing.T, s suite) {
	stands, asked := s.bystander(t), service(s.unique("neighbour"), 2)
	source := s.h.Source(t)
	w := start(t, source, stands)
	w.first(t, s.change)
	mixed := s.h.Hostile(t) // while a Watch runs …
	w.sees(t, s.change, mixed...)
	w.sees(t, s.change, s.put(t, asked))
	w.sees(t, s.change, s.h.Put(t, with(asked, func(i *registry.Instance) { i.Health = registry.Critical })))
	w.stop(t)
	w = start(t, source, stands) // … and before it starts
	w.sees(t, s.change, mixed...)
	w.sees(t, s.change, s.h.Put(t, asked))
	if read, err := source.Read(t.Context()); err != nil {
		t.Errorf("Read: %v", err)
	} else if wrong := differs(read, mixed); wrong != "" {
		t.Errorf("Read: %s", wrong)
	}
}
