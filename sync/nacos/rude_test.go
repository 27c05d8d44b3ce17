package nacos

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func TestEmptyPushNeedsASecondWitness(t *testing.T) {
	f := newFake(t)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	w := watching(t, fakeSource(t, f))
	w.until(t, "orders", "192.0.2.1 passing*1")

	f.push(t, info("orders", false)) // by HTTP the instance is there
	asked := f.count("/v1/ns/instance/list")
	eventually(t, 5*time.Second, func() string {
		if f.count("/v1/ns/instance/list") < asked+3 {
			return "the open API was not asked"
		}
		return ""
	})
	if _, n := w.last(); n != 1 {
		t.Errorf("%d snapshots, want 1: an empty push was believed", n)
	}
	f.set(t, "orders", info("orders", false))
	w.until(t, "orders", "absent")
}

func TestListIsNotBelievedAlone(t *testing.T) {
	f := newFake(t)
	for n := range 3 {
		name := fmt.Sprint("orders-", n)
		f.set(t, name, info(name, false, hostJSON("192.0.2.1", true)))
	}
	s := fakeSource(t, f)
	w := watching(t, s)
	w.until(t, "orders-2", "192.0.2.1 passing*1")

	t.Run("a name that leaves the list and has instances stays", func(t *testing.T) {
		kept := f.grpc["orders-0"]
		f.change(func() { delete(f.grpc, "orders-0") })
		asked := f.count("ServiceListRequest")
		eventually(t, 5*time.Second, func() string {
			if f.count("ServiceListRequest") < asked+6 {
				return "not listed often enough"
			}
			return ""
		})
		if last, n := w.last(); n != 1 || brief(last, "orders-0") == "absent" {
			t.Errorf("%d snapshots, orders-0 is %s", n, brief(last, "orders-0"))
		}
		f.change(func() { f.grpc["orders-0"] = kept })
	})
	t.Run("a name without instances leaves", func(t *testing.T) {
		f.set(t, "orders-1", info("orders-1", false))
		w.until(t, "orders-1", "absent")
		f.change(func() { delete(f.grpc, "orders-1"); delete(f.http, "orders-1") })
		eventually(t, 5*time.Second, func() string {
			if f.count("SubscribeServiceRequest") < 4 {
				return "not unsubscribed"
			}
			return ""
		})
		f.set(t, "orders-1", info("orders-1", false, hostJSON("192.0.2.9", true)))
		w.until(t, "orders-1", "192.0.2.9 passing*1")
	})
	t.Run("an empty list that HTTP contradicts ends the watch", func(t *testing.T) {
		_, before := w.last()
		f.change(func() { clear(f.grpc) })
		if err := w.ends(t, 10*time.Second); !strings.Contains(err.Error(), "by HTTP") {
			t.Errorf("Watch ended with %v", err)
		}
		if _, after := w.last(); after != before {
			t.Errorf("%d snapshots came from an empty list", after-before)
		}
	})
}

func TestRefusalsOfTheServer(t *testing.T) {
	tests := map[string]struct {
		what string
		code int
		want string // in the error
	}{
		"list says no":                {"ServiceListRequest", 500, "no list"},
		"list is forbidden":           {"ServiceListRequest", 403, "no list"},
		"subscription is forbidden":   {"SubscribeServiceRequest", 403, "can't be read"},
		"open API fails":              {"/v1/ns/instance/list", 500, "HTTP 500"},
		"server is starting":          {"/v1/ns/service/list", 503, "503"},
		"connection is never let in":  {"HealthCheckRequest", 301, "not connected"},
		"connection setup is refused": {"ServerCheckRequest", 500, "Nacos answers 500"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.set(t, "orders", info("orders", false)) // empty, so that the open API is asked
			f.change(func() { f.refuse[tt.what] = tt.code })
			w := watching(t, fakeSource(t, f))
			if err := w.ends(t, 20*time.Second); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Watch ended with %v, want %q in it", err, tt.want)
			}
			if _, n := w.last(); n != 0 {
				t.Errorf("%d snapshots of a registry that can't be read", n)
			}
		})
	}
}

func TestOneUnreadableServiceHarmsNoOther(t *testing.T) {
	f := newFake(t)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	f.set(t, "bad name", info("bad name", false, hostJSON("192.0.2.2", true)))
	f.set(t, "a@@b", info("a@@b", false, hostJSON("192.0.2.3", true)))
	f.set(t, "garbled", info("garbled", false, hostJSON("192.0.2.4", true), `{"instanceId":"x","port":"many"}`, `7`,
		`{"instanceId":"nan","ip":"192.0.2.5","port":1,"weight":"NaN","healthy":true,"enabled":true}`))
	var told refusals
	c := oneGroup(t, f.addr)
	c.Refused = told.add
	s := mustNew(t, c)
	s.timing = quick()
	w := watching(t, s)
	w.until(t, "orders", "192.0.2.1 passing*1")
	w.until(t, "garbled", "192.0.2.4 passing*1")

	f.push(t, `{"name":"orders","groupName":"DEFAULT_GROUP","hosts":7}`)
	f.push(t, `{"name":"nobody","groupName":"DEFAULT_GROUP","hosts":[]}`)
	f.push(t, `{"name":"orders","groupName":"ANOTHER","hosts":[]}`)
	f.push(t, `[]`)
	f.send(t, "NotifySubscriberRequest", `{{{`)
	f.send(t, "ClientDetectionRequest", `{"requestId":"2"}`)
	f.send(t, "SomethingNewRequest", `{}`)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.7", false)))
	w.until(t, "orders", "192.0.2.7 critical*1")
	eventually(t, 5*time.Second, func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.acks < 7 {
			return fmt.Sprintf("%d of the pushes were acknowledged", f.acks)
		}
		return ""
	})

	want := map[string]int{"name-characters": 2, "instance-malformed": 2, "instance-weight": 1}
	eventually(t, 5*time.Second, func() string {
		if got := told.reasons(); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("refused %v, want %v", got, want)
		}
		return ""
	})
	asked := f.count("ServiceListRequest")
	eventually(t, 5*time.Second, func() string { // several rounds later
		if f.count("ServiceListRequest") < asked+10 {
			return "too few lists"
		}
		return ""
	})
	if got := told.reasons(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("what is refused was told again: %v", got)
	}
}

// refusals collects what a source refuses.
type refusals struct {
	mu  sync.Mutex
	all []*registry.Refusal
}

func (r *refusals) add(refusal *registry.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, refusal)
}

func (r *refusals) reasons() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := make(map[string]int)
	for _, refusal := range r.all {
		count[refusal.Reason]++
	}
	return count
}

func TestNameThatNacosDoesNotTellOf(t *testing.T) {
	f := newFake(t)
	f.change(func() { f.refuse["SubscribeServiceRequest"] = codeInvalid })
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	var told refusals
	c := oneGroup(t, f.addr)
	c.Refused = told.add
	s := mustNew(t, c)
	s.timing = quick()
	w := watching(t, s)
	w.until(t, "orders", "absent")
	if got := told.reasons()["service-unreadable"]; got != 1 {
		t.Errorf("%d refusals, want 1", got)
	}
	f.change(func() { delete(f.refuse, "SubscribeServiceRequest") })
	w.until(t, "orders", "192.0.2.1 passing*1")
}

func TestProtectThresholdHidesHealth(t *testing.T) {
	f := newFake(t)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true), hostJSON("192.0.2.2", false)))
	w := watching(t, fakeSource(t, f))
	w.until(t, "orders", "192.0.2.1 passing*1, 192.0.2.2 critical*1")
	f.set(t, "orders", info("orders", true, hostJSON("192.0.2.1", true), hostJSON("192.0.2.2", true)))
	w.until(t, "orders", "192.0.2.1 unknown*1, 192.0.2.2 unknown*1")
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true), hostJSON("192.0.2.2", true)))
	w.until(t, "orders", "192.0.2.1 passing*1, 192.0.2.2 passing*1")
}

func TestLostPushIsRepaired(t *testing.T) {
	f := newFake(t)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	w := watching(t, fakeSource(t, f))
	w.until(t, "orders", "192.0.2.1 passing*1")
	for _, service := range []string{
		info("orders", false, hostJSON("192.0.2.1", true), hostJSON("192.0.2.2", true)),
		info("orders", false, hostJSON("192.0.2.2", false)),
	} {
		f.change(func() { f.grpc["orders"], f.http["orders"] = service, service }) // no push
	}
	w.until(t, "orders", "192.0.2.2 critical*1")
	f.change(func() { f.grpc["orders"], f.http["orders"] = info("orders", false), info("orders", false) })
	w.until(t, "orders", "absent")
}

func TestPushBeatsAnOlderReading(t *testing.T) {
	f := newFake(t)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	w := watching(t, fakeSource(t, f))
	w.until(t, "orders", "192.0.2.1 passing*1")
	// The other side stays behind, for less than two readings.
	old := f.http["orders"]
	for range 20 {
		f.set(t, "orders", info("orders", false, hostJSON("192.0.2.2", true)))
		f.change(func() { f.http["orders"] = old })
		time.Sleep(20 * time.Millisecond)
	}
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.2", true)))
	w.until(t, "orders", "192.0.2.2 passing*1")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) != 2 {
		t.Errorf("%d snapshots, want 2: an older reading was believed", len(w.all))
	}
}

func TestBrokenConnectionEndsTheWatch(t *testing.T) {
	for name, hurt := range map[string]func(*testing.T, *fake){
		"hangs up":           func(_ *testing.T, f *fake) { f.hangUp() },
		"asks to move":       func(t *testing.T, f *fake) { f.send(t, "ConnectResetRequest", `{"serverIp":"192.0.2.99"}`) },
		"forgets who we are": func(_ *testing.T, f *fake) { f.change(func() { f.refuse["ServiceListRequest"] = 301 }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
			s := fakeSource(t, f)
			w := watching(t, s)
			w.until(t, "orders", "192.0.2.1 passing*1")
			hurt(t, f)
			w.ends(t, 10*time.Second)
			if last, n := w.last(); n != 1 || brief(last, "orders") == "absent" {
				t.Errorf("the outage made snapshots: %d, orders is %s", n, brief(last, "orders"))
			}
			f.change(func() { clear(f.refuse) })
			watching(t, s).until(t, "orders", "192.0.2.1 passing*1")
		})
	}
}

func TestAfterAnOutageMissingInstancesAreWaitedFor(t *testing.T) {
	t.Run("they come back", func(t *testing.T) {
		f := newFake(t)
		f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
		f.set(t, "stock", info("stock", false, hostJSON("192.0.2.2", true)))
		s := fakeSource(t, f)
		s.timing.settle = time.Minute
		w := watching(t, s)
		w.until(t, "orders", "192.0.2.1 passing*1")
		f.change(func() { clear(f.grpc); clear(f.http) }) // a restart forgets
		f.hangUp()
		w.ends(t, 10*time.Second)

		w = watching(t, s)
		asked := f.count("/v1/ns/service/list")
		eventually(t, 5*time.Second, func() string {
			if f.count("/v1/ns/service/list") < asked+5 {
				return "too few lists"
			}
			return ""
		})
		f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
		time.Sleep(200 * time.Millisecond)
		if last, n := w.last(); n != 0 {
			t.Fatalf("a catalog of %d services came before the instances were back", last.Len())
		}
		f.set(t, "stock", info("stock", false, hostJSON("192.0.2.2", true)))
		w.until(t, "stock", "192.0.2.2 passing*1")
		if _, n := w.last(); n != 1 {
			t.Errorf("%d snapshots, want 1", n)
		}
	})
	t.Run("they don't", func(t *testing.T) {
		f := newFake(t)
		f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
		s := fakeSource(t, f)
		w := watching(t, s)
		w.until(t, "orders", "192.0.2.1 passing*1")
		f.change(func() { clear(f.grpc); clear(f.http) })
		f.hangUp()
		w.ends(t, 10*time.Second)
		start := time.Now()
		w = watching(t, s)
		w.until(t, "orders", "absent")
		if waited := time.Since(start); waited < s.timing.settle {
			t.Errorf("waited %v, want %v", waited, s.timing.settle)
		}
	})
}

func TestNewConnectionIsLetInLater(t *testing.T) {
	f := newFake(t)
	f.change(func() { f.setup = 5 })
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	watching(t, fakeSource(t, f)).until(t, "orders", "192.0.2.1 passing*1")
}

func TestNacos3(t *testing.T) {
	f := newFake(t)
	f.change(func() { f.refuse["/v1/ns/instance/list"], f.refuse["/v1/ns/service/list"] = 404, 410 })
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true), hostJSON("192.0.2.2", false)))
	f.set(t, "shy", info("shy", true, hostJSON("192.0.2.3", true)))
	s := fakeSource(t, f)
	w := watching(t, s)
	w.until(t, "orders", "192.0.2.1 passing*1, 192.0.2.2 critical*1")
	w.until(t, "shy", "192.0.2.3 unknown*1")
	read, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	watched, _ := w.last()
	if changes := registry.Diff(watched, read); len(changes) > 0 {
		t.Errorf("Read and Watch differ: %v", changes)
	}
	if f.count("/v3/client/ns/instance/list") == 0 {
		t.Error("the API of Nacos 3 was not asked")
	}
	f.set(t, "orders", info("orders", false))
	w.until(t, "orders", "absent")
}

func TestReadFailsRatherThanGuess(t *testing.T) {
	for name, code := range map[string]int{"/v1/ns/instance/list": 500, "/v1/ns/service/list": 403} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
			f.change(func() { f.refuse[name] = code })
			status := new(statusError)
			if s, err := fakeSource(t, f).Read(t.Context()); !errors.As(err, &status) || status.Status != code {
				t.Errorf("Read gave %d services and %v", s.Len(), err)
			}
		})
	}
}

// TestSubscriptionsAnswerIsOlderThanAPush: the server reads the service, subscribes,
// and answers; a push that overtakes the answer is newer.
func TestSubscriptionsAnswerIsOlderThanAPush(t *testing.T) {
	f := newFake(t)
	older, newer := info("orders", false, hostJSON("192.0.2.1", true)), info("orders", false, hostJSON("192.0.2.2", true))
	f.change(func() { f.grpc["orders"], f.http["orders"] = older, newer })
	f.change(func() {
		f.before = func(what string) {
			if what == "SubscribeServiceRequest" {
				f.push(t, newer)
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
	w := watching(t, fakeSource(t, f))
	w.until(t, "orders", "192.0.2.2 passing*1")
	eventually(t, 5*time.Second, func() string {
		if f.count("/v1/ns/instance/list") < 2 {
			return "not checked yet"
		}
		return ""
	})
	if _, n := w.last(); n != 1 {
		t.Errorf("%d snapshots, want 1: the answer was believed more than the push", n)
	}
}

func TestReadListsUntilNothingChanges(t *testing.T) {
	t.Run("a service comes meanwhile", func(t *testing.T) {
		f := newFake(t)
		f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
		f.change(func() {
			f.before = func(what string) {
				if what == "/v1/ns/instance/list" {
					f.change(func() { f.http["stock"] = info("stock", false, hostJSON("192.0.2.2", true)) })
				}
			}
		})
		read, err := fakeSource(t, f).Read(t.Context())
		if err != nil || brief(read, "orders") != "192.0.2.1 passing*1" || brief(read, "stock") != "192.0.2.2 passing*1" {
			t.Errorf("Read: %v, orders is %s, stock is %s", err, brief(read, "orders"), brief(read, "stock"))
		}
	})
	t.Run("it never ends", func(t *testing.T) {
		f := newFake(t)
		n := 0
		f.change(func() {
			f.before = func(what string) {
				f.change(func() { n++; f.http[fmt.Sprint("s-", n)] = info("s", false) })
			}
		})
		if _, err := fakeSource(t, f).Read(t.Context()); err == nil {
			t.Error("Read succeeded although the list changed all the time")
		}
	})
}
