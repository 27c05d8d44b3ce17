package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// history answers every question at once, unless it is told to wait.
type history struct {
	entries int
	entry   string                      // instead of its number
	wait    func(context.Context) error // nil: answer at once
	err     error
}

func (h *history) answer(ctx context.Context) (any, error) {
	if h.wait != nil {
		if err := h.wait(ctx); err != nil {
			return nil, err
		}
	}
	return map[string]int{"answer": 42}, h.err
}

func (h *history) audit() *Audit {
	return &Audit{
		Log: func(_ context.Context, q AuditLog) iter.Seq2[any, error] {
			return func(yield func(any, error) bool) {
				first := 1
				if q.Newest {
					first = max(1, h.entries-q.Limit+1)
				}
				for n := first; n <= min(h.entries, first+q.Limit-1); n++ {
					var e any = n
					if h.entry != "" {
						e = h.entry
					}
					if !yield(e, nil) {
						return
					}
				}
				if h.err != nil {
					yield(nil, h.err)
				}
			}
		},
		At: func(ctx context.Context, _ string, _ registry.ServiceKey, _ int) (any, error) { return h.answer(ctx) },
		Diff: func(ctx context.Context, _, _ string, _ registry.ServiceKey, _ int) (any, error) {
			return h.answer(ctx)
		},
		Blame:   func(ctx context.Context, _ string, _ registry.ServiceKey) (any, error) { return h.answer(ctx) },
		Resolve: func(ctx context.Context, _, _, _ string) (any, error) { return h.answer(ctx) },
	}
}

func (h *history) serve() http.Handler { return New(Config{Audit: h.audit()}) }

// ask returns the status, the body and what it says is wrong.
func ask(handler http.Handler, path string) (code int, body, detail string) {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	var p problem
	_ = json.Unmarshal(w.Body.Bytes(), &p) // a body that is no problem has no detail
	return w.Code, strings.TrimSpace(w.Body.String()), p.Detail
}

// The log tells at most as many entries as were asked for, from the right end, and
// whether there are more.
func TestAuditLogIsBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		entries int
		query   string
		want    string
	}{
		{3, "limit=3", `{"entries":[1,2,3],"more":false}`},
		{4, "limit=3", `{"entries":[2,3,4],"more":true}`},
		{4, "limit=3&since=1h%20ago", `{"entries":[1,2,3],"more":true}`},
		{4, "limit=3&newest=false", `{"entries":[1,2,3],"more":true}`},
		{4, "limit=3&newest=true&since=now", `{"entries":[2,3,4],"more":true}`},
		{0, "", `{"entries":[],"more":false}`},
	} {
		if code, body, _ := ask((&history{entries: test.entries}).serve(), "/v1/audit/log?"+test.query); code != http.StatusOK || body != test.want {
			t.Errorf("%d entries, %s: %d %s, want %s", test.entries, test.query, code, body, test.want)
		}
	}
	if code, _, detail := ask((&history{entries: 2, err: errors.New("gone")}).serve(), "/v1/audit/log"); code != http.StatusInternalServerError || detail != "gone" {
		t.Errorf("a log that breaks off gives %d, %q", code, detail)
	}
}

// 10,000 entries of up to 1 MiB were all held at once, for each of four questions.
func TestAuditLogIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"newest=true", "newest=false"} {
		h := &history{entries: 100, entry: strings.Repeat("<", 1<<20)}
		code, body, _ := ask(h.serve(), "/v1/audit/log?limit=100&"+query)
		var reply struct {
			Entries []string
			More    bool
		}
		if err := json.Unmarshal([]byte(body), &reply); err != nil {
			t.Fatal(err)
		}
		if code != http.StatusOK || len(reply.Entries) != 15 || !reply.More || len(body) > auditBytes+100 {
			t.Errorf("%s: %d, %d entries in %d bytes, more %v", query, code, len(reply.Entries), len(body), reply.More)
		}
	}
	q := AuditLog{Limit: 2, Newest: true}
	var l logReply
	for n := range 3 {
		if text, err := encode(n); err != nil || !l.add(text, q) {
			t.Fatalf("entry %d: %v", n, err)
		}
	}
	l.add(make([]byte, auditBytes+1), q) // a single one that is too large is still told
	if len(l.Entries) != 1 || l.bytes != auditBytes+1 || !l.More {
		t.Errorf("%d entries of %d bytes are held", len(l.Entries), l.bytes)
	}
}

// Who asked and then did not read held the only turn until the server's own deadline.
func TestAuditTurnIsNotHeldBySlowReader(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 64<<20) // more than the sockets take
	a := newAuditor(&Audit{At: func(context.Context, string, registry.ServiceKey, int) (any, error) { return large, nil }})
	a.send = 100 * time.Millisecond
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		a.at(w, r)
	}))
	defer s.Close()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET /v1/audit/at HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("who does not read the answer holds the turn")
	}
}

// An error has the status that its cause gives it.
func TestAuditTellsProblems(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"at", "diff?from=now", "blame?service=a/b", "resolve?name=x"} {
		h := &history{err: &Problem{Status: http.StatusGone, Err: errors.New("aged out")}}
		if code, _, detail := ask(h.serve(), "/v1/audit/"+path); code != http.StatusGone || detail != "aged out" {
			t.Errorf("%s gives %d, %q", path, code, detail)
		}
	}
	for _, path := range []string{"/v1/audit/at", "/v1/resolve?at=now&name=x"} {
		if code, _, detail := ask(New(Config{}), path); code != http.StatusNotFound || detail == "" {
			t.Errorf("%s without a history gives %d, %q", path, code, detail)
		}
	}
}

// One heavy question is answered at a time; the next one waits, and is then sent away.
// Light ones are not held up by it.
func TestAuditAnswersOneHeavyQuestionAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		running, most := 0, 0
		var mu sync.Mutex
		release := make(chan struct{})
		h := &history{wait: func(ctx context.Context) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			defer func() { mu.Lock(); running--; mu.Unlock() }()
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}}
		handler := h.serve()
		codes := make(chan int, 2)
		for range 2 {
			go func() {
				code, _, _ := ask(handler, "/v1/audit/at")
				codes <- code
			}()
		}
		began := time.Now()
		if code := <-codes; code != http.StatusServiceUnavailable || time.Since(began) != auditWait {
			t.Errorf("the second question gives %d after %v", code, time.Since(began))
		}
		mu.Lock()
		if most != 1 {
			t.Errorf("%d heavy questions were answered at once", most)
		}
		mu.Unlock()
		go func() {
			code, _, _ := ask(handler, "/v1/audit/blame?service=a")
			codes <- code
		}()
		synctest.Wait()
		close(release)
		for range 2 {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("a question gives %d", code)
			}
		}
	})
}

// A question that takes too long is given up.
func TestAuditGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &history{wait: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("read the stream: %w", context.Cause(ctx))
		}}
		began := time.Now()
		code, _, detail := ask(h.serve(), "/v1/audit/diff?from=now")
		if took := time.Since(began); code != http.StatusGatewayTimeout || took != auditTime || !strings.Contains(detail, "--nats") {
			t.Errorf("after %v: %d, %q", took, code, detail)
		}
	})
}
