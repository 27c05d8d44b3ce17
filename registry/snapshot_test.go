package registry_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func drawSnapshot(t *rapid.T, label string) registry.Snapshot {
	return registry.NewSnapshot(label, rapid.SliceOfN(rapid.Custom(drawService), 0, 8).Draw(t, label)...)
}

// apply makes of old what the changes say.
func apply(old registry.Snapshot, changes []registry.Change) registry.Snapshot {
	for _, c := range changes {
		if c.New == nil {
			old = old.Without("", c.Key)
		} else {
			old = old.With("", *c.New)
		}
	}
	return old
}

func TestDiffThenApplyGivesTheNew(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		old, next := drawSnapshot(t, "old"), drawSnapshot(t, "new")
		changes := registry.Diff(old, next)
		got := apply(old, changes)
		if rest := registry.Diff(got, next); len(rest) > 0 {
			t.Fatalf("after applying the difference there is still %+v", rest)
		}
		checkSnapshot(t, got, contentOf(next))
		for n, c := range changes {
			if n > 0 && changes[n-1].Key.Compare(c.Key) >= 0 {
				t.Fatalf("the changes are not sorted: %v after %v", c.Key, changes[n-1].Key)
			}
			if c.Old != old.Service(c.Key) || c.New != next.Service(c.Key) || c.Old == nil && c.New == nil {
				t.Fatalf("change %v says %v → %v", c.Key, c.Old, c.New)
			}
		}
		for _, s := range []registry.Snapshot{old, next, {}} {
			if got := registry.Diff(s, s); len(got) > 0 {
				t.Fatalf("a snapshot differs from itself: %+v", got)
			}
			if got := registry.Diff(s, registry.NewSnapshot("rebuilt", contentOf(s)...)); len(got) > 0 {
				t.Fatalf("a snapshot differs from one with the same content: %+v", got)
			}
		}
	})
}

func contentOf(s registry.Snapshot) []registry.Service {
	var all []registry.Service
	for service := range s.Services() {
		all = append(all, *service)
	}
	slices.SortFunc(all, func(a, b registry.Service) int { return a.Key.Compare(b.Key) })
	return all
}

// checkSnapshot compares a snapshot with what it should hold, sorted by key.
func checkSnapshot(t *rapid.T, s registry.Snapshot, want []registry.Service) {
	t.Helper()
	got := contentOf(s)
	if !slices.EqualFunc(got, want, registry.Service.Equal) {
		t.Fatalf("the snapshot holds\n%+v, want\n%+v", got, want)
	}
	instances, populated := 0, 0
	for _, service := range want {
		instances += len(service.Instances)
		if len(service.Instances) > 0 {
			populated++
		}
		if one := s.Service(service.Key); one == nil || !one.Equal(service) {
			t.Fatalf("Service(%v) = %v", service.Key, one)
		}
	}
	if s.Len() != len(want) || s.Instances() != instances || s.Populated() != populated {
		t.Fatalf("%d services, %d with %d instances; counted %d, %d, %d", s.Len(), s.Populated(), s.Instances(), len(want), populated, instances)
	}
}

// Versions of a snapshot share what they have in common; none sees what is done to another.
func TestDerivedSnapshotsDoNotInfluenceEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		versions := []registry.Snapshot{{}}
		models := []map[registry.ServiceKey]registry.Service{{}}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			from := rapid.IntRange(0, len(versions)-1).Draw(t, "from")
			model := map[registry.ServiceKey]registry.Service{}
			maps.Copy(model, models[from])
			var next registry.Snapshot
			if rapid.Bool().Draw(t, "with") {
				services := rapid.SliceOfN(rapid.Custom(drawService), 0, 3).Draw(t, "services")
				next = versions[from].With("x", services...)
				for n, s := range services {
					model[s.Key] = s
					services[n] = registry.Service{} // the caller's slice is the caller's
				}
			} else {
				gone := rapid.SliceOfN(rapid.SampledFrom(keys), 0, 3).Draw(t, "keys")
				next = versions[from].Without("x", gone...)
				for _, k := range gone {
					delete(model, k)
				}
			}
			versions, models = append(versions, next), append(models, model)
		}
		for n, s := range versions {
			var want []registry.Service
			for _, v := range models[n] {
				want = append(want, v)
			}
			slices.SortFunc(want, func(a, b registry.Service) int { return a.Key.Compare(b.Key) })
			checkSnapshot(t, s, want)
		}
	})
}

func TestOfTwoServicesWithOneKeyTheLaterStands(t *testing.T) {
	t.Parallel()
	s := registry.NewSnapshot("7", registry.Service{Key: api, Instances: shared}, registry.Service{Key: api})
	if got := s.Service(api); s.Len() != 1 || s.Index() != "7" || len(got.Instances) != 0 || s.Instances() != 0 || s.Populated() != 0 {
		t.Errorf("the snapshot holds %+v with %d instances", got, s.Instances())
	}
}

func TestCompareNamesWhatChanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		old, next := drawService(t), drawService(t)
		before, after := byID(old), byID(next)
		got := registry.Compare(&old, &next)
		if got == nil {
			got = &registry.Changes{}
		} else if slices.EqualFunc(old.Instances, next.Instances, registry.Instance.Equal) {
			t.Fatalf("nothing changed, but Compare says %+v", got)
		}
		var added, removed, changed []string
		for _, i := range next.Instances {
			if _, there := before[i.ID]; !there {
				added = append(added, i.ID)
			} else if !before[i.ID].Equal(i) {
				changed = append(changed, i.ID)
			}
		}
		for _, i := range old.Instances {
			if _, there := after[i.ID]; !there {
				removed = append(removed, i.ID)
			}
		}
		var named []string
		for _, c := range got.Changed {
			named = append(named, c.ID)
			checkFields(t, before[c.ID], after[c.ID], c.Fields)
		}
		if !slices.Equal(got.Added, added) || !slices.Equal(got.Removed, removed) || !slices.Equal(named, changed) {
			t.Fatalf("Compare = %+v, want added %v, removed %v, changed %v", got, added, removed, changed)
		}
	})
}

func byID(s registry.Service) map[string]registry.Instance {
	m := map[string]registry.Instance{}
	for _, i := range s.Instances {
		m[i.ID] = i
	}
	return m
}

// checkFields sets the named fields of a to those of b: then they must be equal,
// and each of them must have been necessary.
func checkFields(t *rapid.T, a, b registry.Instance, fields []string) {
	set := map[string]func(to *registry.Instance){
		"address": func(to *registry.Instance) { to.Address = b.Address },
		"port":    func(to *registry.Instance) { to.Port = b.Port },
		"weight":  func(to *registry.Instance) { to.Weight = b.Weight },
		"health":  func(to *registry.Instance) { to.Health = b.Health },
		"version": func(to *registry.Instance) { to.Version = b.Version },
		"meta":    func(to *registry.Instance) { to.Meta = b.Meta },
	}
	for without := range len(fields) + 1 {
		c := a
		for n, field := range fields {
			if n != without {
				set[field](&c)
			}
		}
		if got, want := c.Equal(b), without == len(fields); got != want {
			t.Fatalf("%+v → %+v: the fields %v do not name exactly what changed", a, b, fields)
		}
	}
}
