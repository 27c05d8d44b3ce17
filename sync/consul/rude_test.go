package consul

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// rude is a Consul that can be made to do what a real one cannot be made to do
// at a chosen moment. Its catalog is two services on one node. It has as many
// manners as a test gives it.
type rude struct {
	address string

	mu     sync.Mutex // guards the fields below
	index  uint64
	status string // of both checks
	gone   bool   // web is not registered
	moved  uint64 // index of the last change of that
	crowd  bool   // the node has so many instances that checks are watched as lists
	swaps  bool   // the next query for critical checks that wakes returns at once, without news
	news   chan struct{}
	// manner sees every request and what would be the answer, and may answer itself.
	manner func(w http.ResponseWriter, r *http.Request, honest answerOf) (done bool)
	asked  map[string]int
}

type answerOf struct {
	index uint64
	body  any
	early bool // it blocked, and something changed
}

func newRude(t *testing.T) *rude {
	r := &rude{index: 100, moved: 60, status: "passing", crowd: true, news: make(chan struct{}), asked: make(map[string]int)}
	server := httptest.NewServer(r)
	r.address = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return r
}

// change changes the catalog and wakes the queries.
func (r *rude) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.index++
	close(r.news)
	r.news = make(chan struct{})
}

// register makes web come or go.
func (r *rude) register(there bool) {
	r.change(func() { r.gone, r.moved = !there, r.index+1 })
}

// swap changes the catalog as a restored snapshot does: no index moves, and the
// queries that wait come back with what they had.
func (r *rude) swap(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.swaps = true
	close(r.news)
	r.news = make(chan struct{})
}

// behave sets the manner.
func (r *rude) behave(manner func(http.ResponseWriter, *http.Request, answerOf) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manner = manner
}

func (r *rude) count(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[path]
}

func (r *rude) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if strings.HasSuffix(q.URL.Path, "/acl/authorize") {
		http.Error(w, "ACL support disabled", http.StatusUnauthorized)
		return
	}
	after, _ := strconv.ParseUint(q.FormValue("index"), 10, 64)
	wait, _ := time.ParseDuration(q.FormValue("wait"))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	honest := answerOf{}
	for {
		r.mu.Lock()
		r.asked[q.URL.Path]++
		honest.index, honest.body = r.answer(q.URL.Path)
		news, manner := r.news, r.manner
		r.mu.Unlock()
		if honest.index > after || after == 0 {
			if manner != nil && manner(w, q, honest) {
				return
			}
			break
		}
		select {
		case <-news:
			honest.early = true
			r.mu.Lock()
			swapped := r.swaps && q.URL.Path == pathCritical
			r.swaps = r.swaps && !swapped
			r.mu.Unlock()
			if !swapped {
				continue
			}
			reply200(w, after, true, []wireCheck{})
			return
		case <-timer.C:
			if manner != nil && manner(w, q, honest) {
				return
			}
		case <-q.Context().Done():
			return
		}
		break
	}
	reply200(w, honest.index, true, honest.body)
}

func reply200(w http.ResponseWriter, index uint64, leader bool, body any) {
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	w.Header().Set("X-Consul-KnownLeader", strconv.FormatBool(leader))
	_ = json.NewEncoder(w).Encode(body)
}

func (r *rude) answer(path string) (uint64, any) {
	switch {
	case path == pathNodes:
		return 50, []wireNode{{Node: "n1", Address: "192.0.2.1", CreateIndex: 5, ModifyIndex: 5}}
	case path == pathNames && r.gone:
		return r.moved, map[string][]string{"db": {}}
	case path == pathNames:
		return r.moved, map[string][]string{"web": {}, "db": {}}
	case path == "/v1/health/service/consul":
		return 20, []wireEntry{}
	case path == pathCritical || path == pathWarning:
		checks := []wireCheck{}
		if illPath(r.status) == path {
			checks = r.checks()
		}
		return r.index, checks
	case strings.HasPrefix(path, "/v1/catalog/node-services/") && r.gone:
		return r.moved, wireNodeServices{Node: &struct{ Node string }{"n1"}, Services: []wireNodeService{{ID: "db-1", Service: "db", ModifyIndex: 60}}}
	case strings.HasPrefix(path, "/v1/catalog/node-services/"):
		services := []wireNodeService{{ID: "web-1", Service: "web", ModifyIndex: 60}, {ID: "db-1", Service: "db", ModifyIndex: 60}}
		if r.crowd {
			for n := range crowded {
				services = append(services, wireNodeService{ID: strconv.Itoa(n), Service: "imported", PeerName: "peer"})
			}
		}
		return r.moved, wireNodeServices{Node: &struct{ Node string }{"n1"}, Services: services}
	case path == pathChecks("n1"):
		return r.index, r.checks()
	case path == pathService("web") && r.gone:
		return r.index, []wireEntry{}
	case path == pathService("web"), path == pathService("db"):
		return r.index, r.entries(strings.TrimPrefix(path, "/v1/health/service/"), r.status)
	}
	return r.index, []wireEntry{}
}

func (r *rude) checks() (checks []wireCheck) {
	for _, name := range []string{"web", "db"} {
		checks = append(checks, wireCheck{Node: "n1", CheckID: name, Status: r.status, ServiceID: name + "-1", ServiceName: name, ModifyIndex: r.index})
	}
	return checks
}

func (r *rude) entries(name, status string) []wireEntry {
	return []wireEntry{{
		Node:    &wireNode{Node: "n1", Address: "192.0.2.1", ModifyIndex: 5},
		Service: &wireService{ID: name + "-1", Service: name, Port: 80, ModifyIndex: 60},
		Checks:  []wireCheck{{Node: "n1", CheckID: name, Status: status, ServiceName: name, ModifyIndex: r.index}},
	}}
}

// watchRude watches with short waits, and limit for a request; every snapshot must have both services,
// and as healthy as they are.
func watchRude(t *testing.T, r *rude, limit time.Duration) (*Source, *watcher) {
	t.Helper()
	return watchRudeIn(t, r, ModeHints, limit)
}

func watchRudeIn(t *testing.T, r *rude, mode Mode, limit time.Duration) (*Source, *watcher) {
	t.Helper()
	source, _ := newSource(t, Config{Address: r.address, Mode: mode})
	source.timing.wait, source.timing.plainWait = 400*time.Millisecond, 400*time.Millisecond
	source.timing.request = limit
	w := startWatcher(t, source, func(s registry.Snapshot) string {
		if !has("web", 1)(s) || !has("db", 1)(s) {
			return fmt.Sprintf("a snapshot has web %v, db %v", instances(s, "web"), instances(s, "db"))
		}
		return ""
	})
	return source, w
}

// Every fault, while the catalog stands unchanged, ends the Watch with an error
// and never shows in a snapshot. Afterwards Watch works again.
func TestFaultsEndTheWatch(t *testing.T) {
	t.Parallel()
	faults := map[string]struct {
		manner func(http.ResponseWriter, *http.Request, answerOf) bool
		want   string
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request, _ answerOf) bool {
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
			return true
		}, "No cluster leader"},
		"429": {func(w http.ResponseWriter, _ *http.Request, _ answerOf) bool {
			http.Error(w, "Your IP is issuing too many concurrent connections", http.StatusTooManyRequests)
			return true
		}, "http_max_conns_per_client"},
		"403": {func(w http.ResponseWriter, _ *http.Request, _ answerOf) bool {
			http.Error(w, "ACL not found", http.StatusForbidden)
			return true
		}, "ACL not found"},
		"index 1 and an empty list": {func(w http.ResponseWriter, _ *http.Request, _ answerOf) bool {
			reply200(w, 1, true, []string{})
			return true
		}, "no data"},
		"no index": {func(w http.ResponseWriter, _ *http.Request, a answerOf) bool {
			reply200(w, 0, true, a.body)
			return true
		}, "no data"},
		"no leader and an empty list": {func(w http.ResponseWriter, _ *http.Request, a answerOf) bool {
			reply200(w, a.index+10, false, []string{})
			return true
		}, "no leader"},
		"half a body": {func(w http.ResponseWriter, _ *http.Request, a answerOf) bool {
			w.Header().Set("Content-Length", "1000")
			reply200(w, a.index+10, true, []string{})
			return true
		}, "cut short"},
		"another language": {func(w http.ResponseWriter, _ *http.Request, a answerOf) bool {
			reply200(w, a.index+10, true, "<html>")
			return true
		}, "cannot unmarshal"},
		"silence": {func(_ http.ResponseWriter, q *http.Request, _ answerOf) bool {
			<-q.Context().Done()
			return true
		}, "no answer within"},
		"a huge body": {func(w http.ResponseWriter, _ *http.Request, a answerOf) bool {
			w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index+10, 10))
			w.Header().Set("X-Consul-KnownLeader", "true")
			spaces := []byte(strings.Repeat(" ", 1<<20))
			for range 65 {
				if _, err := w.Write(spaces); err != nil {
					break
				}
			}
			return true
		}, "more than"},
	}
	places := map[string]func(path string) bool{
		"everywhere": func(string) bool { return true },
		"services":   func(path string) bool { return strings.HasPrefix(path, "/v1/health/service/") },
		"states":     func(path string) bool { return path == pathCritical },
		"nodes":      func(path string) bool { return path == pathNodes },
		"names":      func(path string) bool { return path == pathNames },
		"checks":     func(path string) bool { return path == pathChecks("n1") },
	}
	for fault, tt := range faults {
		for place, at := range places {
			if fault == "a huge body" && place != "states" {
				continue // once is dear enough
			}
			t.Run(fault+"/"+place, func(t *testing.T) {
				t.Parallel()
				r := newRude(t)
				r.crowd = place != "checks"
				limit := 20 * time.Second
				if fault == "silence" {
					limit = time.Second
				}
				source, w := watchRude(t, r, limit)
				w.first(t)
				r.behave(func(w http.ResponseWriter, q *http.Request, a answerOf) bool {
					return at(q.URL.Path) && tt.manner(w, q, a)
				})
				r.change(func() {}) // the states wake; the rest comes with its waits' end
				if err := w.ends(t, 30*time.Second); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Watch ended with %v, want %q", err, tt.want)
				}
				if place == "everywhere" || place == "services" || place == "names" {
					if read, err := source.Read(t.Context()); err == nil {
						t.Errorf("Read gave %d services", read.Len())
					}
				}
				r.behave(nil)
				again := startWatcher(t, source, w.check)
				again.first(t)
				r.change(func() { r.status = "critical" })
				again.until(t, "a change", healthOf("web", registry.Critical))
			})
		}
	}
}

// A wait that ends returns the same index: its body means nothing.
func TestBodyOfSameIndexIsIgnored(t *testing.T) {
	t.Parallel()
	r := newRude(t)
	_, w := watchRude(t, r, 20*time.Second)
	w.first(t)
	ended := make(chan string, 100)
	r.behave(func(w http.ResponseWriter, q *http.Request, a answerOf) bool {
		if q.FormValue("index") == "" || a.early {
			return false
		}
		reply200(w, a.index, true, []string{}) // empty, with the index as it was
		select {
		case ended <- q.URL.Path:
		default: // nobody counts any more
		}
		return true
	})
	for range 12 {
		<-ended
	}
	if _, count, _ := w.latest(); count != 1 {
		t.Errorf("%d snapshots, want 1", count)
	}
	select {
	case <-w.done:
		t.Errorf("Watch ended: %v", w.err)
	default:
	}
}

// An index that goes back, or a query that comes back early with the same one,
// means that the state was swapped: everything is read again, by the same Watch.
func TestSwappedStateIsReadAgain(t *testing.T) {
	t.Parallel()
	t.Run("early and without news", func(t *testing.T) {
		r := newRude(t)
		_, w := watchRude(t, r, 20*time.Second)
		w.first(t)
		for limit := time.Now().Add(10 * time.Second); r.count(pathCritical) < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("no query waits for the critical checks")
			}
		}
		r.swap(func() { r.status = "warning" })
		w.until(t, "what is there now", healthOf("web", registry.Warning))
		r.change(func() { r.status = "passing" })
		w.until(t, "a change after that", healthOf("web", registry.Passing))
	})
	t.Run("index goes back", func(t *testing.T) {
		r := newRude(t)
		_, w := watchRude(t, r, 20*time.Second)
		w.first(t)
		reads := r.count(pathService("web"))
		r.behave(func(w http.ResponseWriter, q *http.Request, a answerOf) bool {
			if q.URL.Path != pathCritical || q.FormValue("index") == "" {
				return false
			}
			r.behave(nil)
			reply200(w, a.index-10, true, []string{})
			return true
		})
		r.change(func() {})
		for limit := time.Now().Add(10 * time.Second); r.count(pathService("web")) == reads; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("the service was not read again")
			}
		}
		r.change(func() { r.status = "warning" })
		w.until(t, "a change after that", healthOf("web", registry.Warning))
	})
	t.Run("again and again", func(t *testing.T) {
		r := newRude(t)
		r.behave(func(w http.ResponseWriter, q *http.Request, a answerOf) bool {
			if q.URL.Path != pathCritical || q.FormValue("index") == "" {
				return false
			}
			reply200(w, a.index-10, true, []string{})
			return true
		})
		_, w := watchRude(t, r, 20*time.Second)
		if err := w.ends(t, 20*time.Second); err == nil || !strings.Contains(err.Error(), "went back") {
			t.Errorf("Watch ended with %v", err)
		}
	})
}

// A read from a server that lags does not show what its hint said: it is repeated
// until it does. That holds for a check that fell ill, and for one that left the
// list of the critical, which is no recovery by itself.
func TestLaggingReadIsRepeated(t *testing.T) {
	t.Parallel()
	t.Run("lists", func(t *testing.T) { laggingReads(t, true) })
	t.Run("by node", func(t *testing.T) { laggingReads(t, false) })
}

func laggingReads(t *testing.T, crowd bool) {
	r := newRude(t)
	r.crowd = crowd
	_, w := watchRude(t, r, 20*time.Second)
	w.first(t)
	for _, flip := range []struct{ from, to string }{{"passing", "critical"}, {"critical", "passing"}, {"passing", "warning"}, {"warning", "critical"}, {"critical", "passing"}} {
		lag := 3
		r.behave(func(w http.ResponseWriter, q *http.Request, a answerOf) bool {
			if q.URL.Path != pathService("web") {
				return false
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if lag == 0 {
				return false
			}
			lag--
			old := r.entries("web", flip.from)
			old[0].Checks[0].ModifyIndex = a.index - 1
			reply200(w, a.index-1, true, old)
			return true
		})
		r.change(func() { r.status = flip.to })
		w.until(t, flip.from+" to "+flip.to, func(s registry.Snapshot) bool {
			return healthOf("web", registry.Health(flip.to))(s) && healthOf("db", registry.Health(flip.to))(s)
		})
	}
}

// A service that is deregistered and comes back at once never leaves a snapshot;
// one that stays away does, after a confirming read.
func TestShortAbsenceIsNotEmitted(t *testing.T) {
	t.Parallel()
	r := newRude(t)
	_, w := watchRude(t, r, 20*time.Second)
	w.first(t)
	for range 5 {
		for _, there := range []bool{false, true} {
			before := r.count(pathService("web"))
			r.register(there)
			for limit := time.Now().Add(10 * time.Second); r.count(pathService("web")) == before; {
				if time.Now().After(limit) {
					t.Fatalf("web was not read after it was registered: %t", there)
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
	r.change(func() { r.status = "critical" })
	w.until(t, "a change", healthOf("web", registry.Critical))
	w.mu.Lock()
	w.check = nil // from now on it may go
	w.mu.Unlock()
	r.register(false)
	w.until(t, "the end", has("web", 0))
}

// A limit makes the next start more modest.
func TestPoolShrinks(t *testing.T) {
	t.Parallel()
	r := newRude(t)
	r.behave(func(w http.ResponseWriter, _ *http.Request, _ answerOf) bool {
		http.Error(w, "Your IP is issuing too many concurrent connections", http.StatusTooManyRequests)
		return true
	})
	source, w := watchRude(t, r, 20*time.Second)
	w.check = nil
	if err := w.ends(t, 5*time.Second); err == nil {
		t.Error("no error")
	}
	if got := source.startPool(); got != poolHTTPS/2 {
		t.Errorf("the pool is %d, want %d", got, poolHTTPS/2)
	}
}
