package sourcetest

import (
	"context"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"go.uber.org/goleak"
)

// Source is what an adapter offers. Package edge declares the same two methods.
type Source interface {
	// Watch emits the whole catalog as soon as it has been read in full, and
	// again after each change. It ends when ctx ends, with the context's cause,
	// or when the registry cannot be read or trusted, with an error. It never
	// emits a part of the catalog and never starts again by itself: its caller
	// does. It calls emit from one goroutine at a time; emit does not block. When
	// Watch returns, all that it started has ended. One Watch runs at a time.
	Watch(ctx context.Context, emit func(registry.Snapshot)) error
	// Read reads the whole registry once more, consistently and independently of
	// any watch. It may be called while a Watch runs. With an error the snapshot
	// means nothing.
	Read(ctx context.Context) (registry.Snapshot, error)
}

// Harness drives one real registry. Its methods return when the registry has
// accepted the change, and fail the test when it has not. The suite calls them
// from one goroutine, also while it cleans up (when t.Context() has ended), and
// gives every case names of its own, so that the registry may keep what earlier
// cases left.
type Harness interface {
	// Source returns a new source of the registry. The harness ends it with the
	// test, where there is something to end.
	Source(t *testing.T) Source
	// Put makes the registry have exactly these instances of the service, and
	// returns what a source is to say of it. That differs from what was given
	// only where the registry cannot hold it (Nacos makes instance ids itself).
	Put(t *testing.T, s registry.Service) registry.Service
	// Remove takes all instances of the service out of the registry.
	Remove(t *testing.T, k registry.ServiceKey)
	// Outage makes the registry unreachable for the source until restore is
	// called; restore returns when the registry answers again, with what it had
	// before.
	Outage(t *testing.T) (restore func())
	// Hostile registers content that the door ([registry.CleanService]) refuses,
	// each kind that the registry accepts: names, ids, addresses, metadata. Some of
	// it stands beside valid instances of the same service; Hostile returns what
	// a source is to say of those services. It takes all of it out again when
	// the test ends.
	Hostile(t *testing.T) []registry.Service
	// Key returns the key under which a source reports the service of that
	// name, in a namespace of the harness's choice. Name is lower-case letters,
	// digits and hyphens.
	Key(name string) registry.ServiceKey
	// Supports reports whether an instance can have that health in the registry.
	Supports(h registry.Health) bool
}

// Patient is a Harness whose registry is slower than the defaults allow.
type Patient interface {
	// Patience returns how long a source may take to see a change or to read the
	// catalog (default 10 s), and to end its Watch in an outage (default 60 s).
	Patience() (change, outage time.Duration)
}

// Resident is a Harness whose source keeps goroutines for the life of the
// process, of a client library for example.
type Resident interface {
	// Residents returns which goroutines may stay after a Watch.
	Residents() []goleak.Option
}

// Run runs the suite. Every case is a subtest.
func Run(t *testing.T, h Harness) {
	t.Helper()
	s := suite{h: h, change: 10 * time.Second, outage: time.Minute}
	if p, ok := h.(Patient); ok {
		s.change, s.outage = p.Patience()
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

type suite struct {
	h              Harness
	change, outage time.Duration
}

var cases = []struct {
	name string
	run  func(*testing.T, suite)
}{
	{"FirstSnapshotIsComplete", firstSnapshot},
	{"RegisterAndDeregister", registerAndDeregister},
	{"LastInstanceLeaves", lastInstanceLeaves},
	{"Health", healthFlips},
	{"Weight", func(t *testing.T, s suite) {
		instanceChange(t, s, func(i *registry.Instance) { i.Weight = 7 })
	}},
	{"Metadata", func(t *testing.T, s suite) {
		instanceChange(t, s, func(i *registry.Instance) { i.Meta = map[string]string{"team": "blue", "zone": "b"} })
	}},
	{"Version", func(t *testing.T, s suite) {
		instanceChange(t, s, func(i *registry.Instance) { i.Version = "2.0.1" })
	}},
	{"Address", func(t *testing.T, s suite) {
		instanceChange(t, s, func(i *registry.Instance) { i.Address, i.Port = "198.51.100.7", 9090 })
	}},
	{"LastOfQuickChanges", quickChanges},
	{"LeavesAndReturns", leavesAndReturns},
	{"Flapping", flapping},
	{"Burst", burst},
	{"ReadEqualsWatch", readEqualsWatch},
	{"TwoWatches", twoWatches},
	{"CancelIsPromptAndClean", cancelIsClean},
	{"OutageIsNotEmptiness", outage},
	{"HostileNeighbours", hostileNeighbours},
}
