package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// world is all there is: the simulated half, and the real parts that live in it. But
// for what mu guards, it belongs to whoever has the turn: the scheduler, which gives it
// up only while it waits. Operations take effect on its goroutine; what a real part's
// goroutine does to the world by itself takes the turn.
type world struct {
	seed  uint64
	rng   *rand.Rand
	loud  bool
	whole bool // all parts are there
	began time.Time
	ctx   context.Context
	wg    sync.WaitGroup

	stream  *stream
	sites   []*site
	agents  []*agent
	readers []*reader

	agentTiming    edge.Timing
	brake          edge.BrakeRules
	observerTiming observer.Timing
	observing      observer.Settings
	pieces         int // messages that are delivered at once at most
	noise          int // percent of requests that go wrong

	pending    []*operation
	late       []*operation
	operations int
	ticks      int
	orders     int
	attacks    int       // of mallory
	losable    bool      // the stream may be lost
	losses     int       // of the stream
	lostAt     time.Time // the last of them
	folder     string    // of the readers' disks; "": they have none
	regressed  bool      // mallory has begun an epoch before its last one: then it differs from reader to reader what mallory says
	calmSince  time.Time // since when nothing is amiss at all; zero: something is
	trace      trace
	check      *checker

	poke chan struct{} // capacity 1: something arrived

	turn sync.Mutex

	mu      sync.Mutex // guards arrived
	arrived []*operation
}

// newWorld builds the world of a seed; what there is of everything follows from it. Its
// caller is the scheduler, and has the turn.
func newWorld(ctx context.Context, seed uint64, folder string) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5ea3a12c)), began: time.Now(), ctx: ctx,
		poke: make(chan struct{}, 1), pieces: 1 + int(seed%7)*3,
		agentTiming:    edge.Timing{Renew: 4 * time.Second, Lapse: 12 * time.Second, Compare: 60*time.Second + 13*time.Millisecond, Steady: true},
		observerTiming: observer.Timing{Renew: 4 * time.Second, Lapse: 12 * time.Second, Steady: true},
		brake:          edge.BrakeRules{PassAfter: 90 * time.Second},
		observing:      observer.Settings{Lapse: 12 * time.Second, DownAfter: time.Minute, Failback: 10 * time.Second, ReportAge: 30 * time.Second},
	}
	w.turn.Lock()
	w.losable = seed%3 == 0
	if seed%4 == 1 || seed%12 == 0 {
		w.folder = folder
	}
	w.stream, w.check = newStream(w), newChecker(w)
	for n := range 2 + w.rng.IntN(2) {
		w.sites = append(w.sites, newSite(w, n))
	}
	w.stream.store(nil, encode(replica.ZoneEvent(zone(), "the simulation", registry.CauseChange, time.Now())))
	for _, s := range w.sites {
		for n := range 1 + w.rng.IntN(2) {
			w.agents = append(w.agents, &agent{process: process{world: w, name: fmt.Sprintf("%s-a%d", s.id, n)}, site: s})
		}
	}
	for n := range 1 + w.rng.IntN(2) {
		w.readers = append(w.readers, &reader{process: process{world: w, name: fmt.Sprintf("r%d", n)}, live: map[uint64]uint64{}})
	}
	for _, a := range w.agents {
		a.start(a.name)
		w.tick()
	}
	for _, r := range w.readers {
		r.start()
		w.tick()
	}
	w.whole = true
	return w
}

func zone() registry.ZoneRecord {
	z, faults := registry.CleanZone(registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "ops.mesh.internal."})
	if len(faults) > 0 {
		panic(fmt.Sprint(faults))
	}
	return z
}

// orderEvent states an order.
func (w *world) orderEvent(o registry.Order, by string, cause registry.Cause) *registry.Event {
	w.orders++
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprint("order-", w.orders), Kind: registry.KindOrder, Writer: registry.Operator,
		Time: time.Now().UTC(), Agent: by, Cause: cause, Order: &o,
	}
}

// order stores an order.
func (w *world) order(from *link, o registry.Order, cause registry.Cause) {
	w.stream.store(from, encode(w.orderEvent(o, o.By, cause)))
}
