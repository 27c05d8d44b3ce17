package nacos

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"

	"github.com/seamark-mesh/seamark/registry"
)

// phase is how far a service is. It belongs to the watch's loop.
type phase int

const (
	checking    phase = iota // being read by HTTP before anything else
	subscribing              // the SDK is asked
	live                     // pushes come
	byHTTP                   // the SDK can't have it: read again and again
	excluded                 // Nacos refuses to tell of it
)

// subscription is one listed service during one Watch.
type subscription struct {
	origin origin
	client naming_client.INamingClient
	// param is kept: the SDK knows a subscriber by the address of its callback.
	param *vo.SubscribeParam
	dirty *dirtySet

	mu     sync.Mutex // guards what the callback writes
	closed bool
	pushes uint64 // counted
	latest reading
	pushed time.Time // when latest came

	// What follows belongs to the watch's loop.
	phase    phase
	known    bool // the catalog says of it what Nacos says
	reading  bool // a job of this service waits or runs
	emptied  bool // the last push was empty and is not confirmed yet
	absent   int  // successive lists without it
	failing  time.Time
	retryAt  time.Time // zero: nothing to do again
	checked  time.Time // last compared by HTTP
	suspect  *registry.Service
	suspects time.Time // since when
	shielded bool      // the protect threshold was reached
}

func newSubscription(o origin, client naming_client.INamingClient, dirty *dirtySet) *subscription {
	s := &subscription{origin: o, client: client, dirty: dirty}
	s.param = &vo.SubscribeParam{ServiceName: o.name, GroupName: o.unit.group, SubscribeCallback: s.received}
	return s
}

// received is the SDK's callback. It runs where the SDK receives, before the push
// is acknowledged, possibly several times at once and not in order. So it takes
// what the SDK's cache holds now, which also tells of the protect threshold, and
// returns. The cache has an entry as long as the service is not unsubscribed,
// which closed rules out; without one the SDK would send a request here.
func (s *subscription) received([]model.Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	service, err := s.client.GetService(vo.GetServiceParam{ServiceName: s.origin.name, GroupName: s.origin.unit.group})
	if err != nil {
		return // the check by HTTP finds what this would have said
	}
	s.latest, s.pushed = pushed(service), time.Now()
	s.pushes++
	s.dirty.add(s)
}

// last returns the latest push and how many there were.
func (s *subscription) last() (r reading, pushes uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest, s.pushes, s.pushed
}

// errRefused says that Nacos answered a subscription with a failure. The SDK
// does not report it; it keeps a nameless service instead and then asks for that
// every second, which spoils the client.
var errRefused = errors.New("the subscription was refused")

// subscribe asks the SDK. It blocks up to some seconds.
func (s *subscription) subscribe() error {
	if err := guarded(func() error { return s.client.Subscribe(s.param) }); err != nil {
		return fmt.Errorf("subscribe to %s: %w", s.origin, err)
	}
	if _, pushes, _ := s.last(); pushes == 0 { // a first subscription always calls back
		return fmt.Errorf("subscribe to %s: %w", s.origin, errRefused)
	}
	return nil
}

// unsubscribe ends the subscription; its error does not matter, because the SDK
// has forgotten the service in any case, and the server forgets with the
// connection.
func (s *subscription) unsubscribe() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = guarded(func() error { return s.client.Unsubscribe(s.param) })
}

// subscribable refuses names that must not come near the SDK: it cuts names at
// "@@", and one empty name takes the client down.
func subscribable(o origin) error {
	if _, err := o.key(); err != nil {
		return err
	}
	if strings.Contains(o.name, "@@") {
		return &registry.Refusal{Reason: "name-characters", Detail: fmt.Sprintf("the service name %q has Nacos's own separator @@", clip(o.name))}
	}
	return nil
}

// dirtySet collects the subscriptions that were pushed to.
type dirtySet struct {
	wake chan struct{} // capacity 1

	mu   sync.Mutex // guards subs
	subs map[*subscription]struct{}
}

func newDirtySet() *dirtySet {
	return &dirtySet{wake: make(chan struct{}, 1), subs: make(map[*subscription]struct{})}
}

func (d *dirtySet) add(s *subscription) {
	d.mu.Lock()
	d.subs[s] = struct{}{}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns the set and empties it.
func (d *dirtySet) take() map[*subscription]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	subs := d.subs
	d.subs = make(map[*subscription]struct{})
	return subs
}
