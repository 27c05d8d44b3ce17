package consul

import (
	"net/http"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// What a leader's blocking reply says of a service is taken as it is: the service
// is not asked for once more.
func TestBlockingReplyIsTaken(t *testing.T) {
	t.Parallel()
	r := newRude(t)
	reads := make(chan string, 100)
	_, w := watchRudeIn(t, r, ModePerService, 20*time.Second)
	w.first(t)
	r.behave(func(_ http.ResponseWriter, q *http.Request, _ answerOf) bool {
		if q.URL.Path == pathService("web") && q.FormValue("index") == "" {
			reads <- q.URL.RawQuery
		}
		return false
	})
	for _, status := range []string{"critical", "passing", "warning", "passing"} {
		r.change(func() { r.status = status })
		w.until(t, status, healthOf("web", registry.Health(status)))
	}
	w.stop(t)
	if len(reads) > 0 {
		t.Errorf("%d reads besides the watch, the first with %s", len(reads), <-reads)
	}
}

// A blocking reply that could be less than the truth is only a hint: it is never
// emitted, and a fresh read gives the state.
func TestSuspiciousReplyIsReadAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]func(w http.ResponseWriter, r *rude, a answerOf){
		"an instance is missing": func(w http.ResponseWriter, _ *rude, a answerOf) { reply200(w, a.index, true, []wireEntry{}) },
		"its check is missing": func(w http.ResponseWriter, r *rude, a answerOf) {
			entries := r.lying()
			entries[0].Checks = entries[0].Checks[:0]
			reply200(w, a.index, true, entries)
		},
		"the check is older": func(w http.ResponseWriter, r *rude, a answerOf) {
			entries := r.lying()
			entries[0].Checks[0].ModifyIndex = 1
			entries[0].Service.ModifyIndex = a.index
			reply200(w, a.index, true, entries)
		},
		"no leader stands behind it": func(w http.ResponseWriter, r *rude, a answerOf) {
			w.Header().Set("X-Consul-Query-Backend", "streaming")
			reply200(w, a.index, false, r.lying())
		},
		"the leader was heard of long ago": func(w http.ResponseWriter, r *rude, a answerOf) {
			w.Header().Set("X-Consul-Lastcontact", "4000")
			reply200(w, a.index, true, r.lying())
		},
		"rights have filtered it": func(w http.ResponseWriter, r *rude, a answerOf) {
			w.Header().Set("X-Consul-Results-Filtered-By-Acls", "true")
			reply200(w, a.index, true, r.lying())
		},
	}
	for name, lie := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRude(t)
			_, w := watchRudeIn(t, r, ModePerService, 20*time.Second)
			w.first(t)
			complete := w.check
			w.mu.Lock()
			w.check = func(s registry.Snapshot) string {
				if healthOf("web", registry.Warning)(s) {
					return "the suspicious reply was emitted"
				}
				return complete(s)
			}
			w.mu.Unlock()
			lied, read := make(chan struct{}), make(chan struct{}, 100)
			once := lied
			r.behave(func(w http.ResponseWriter, q *http.Request, a answerOf) bool {
				switch {
				case q.URL.Path != pathService("web"):
				case q.FormValue("index") == "":
					read <- struct{}{}
				case once != nil:
					close(once)
					once = nil
					lie(w, r, a)
					return true
				}
				return false
			})
			r.change(func() {})
			<-lied
			select {
			case <-read:
			case <-time.After(10 * time.Second):
				t.Fatal("the service was not read again")
			}
			r.behave(nil)
			r.change(func() { r.status = "critical" })
			w.until(t, "a change after that", healthOf("web", registry.Critical))
		})
	}
}

// lying is web with a health that it never had.
func (r *rude) lying() []wireEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries("web", "warning")
}
