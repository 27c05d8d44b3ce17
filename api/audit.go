package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Audit answers questions about the history. Points of time are texts, as a person
// writes them; "" is now. What is returned is shown as JSON as it is. An error that is a
// [*Problem] is shown with its status, any other one as 500. All fields are needed; any
// number of goroutines may call them, and they end when their context does.
type Audit struct {
	// Log yields entries in the order of the stream.
	Log func(context.Context, AuditLog) iter.Seq2[any, error]
	// At tells what stood: of one service, or (zero key) of at most limit services.
	At func(ctx context.Context, at string, key registry.ServiceKey, limit int) (any, error)
	// Diff tells at most limit differences between two moments, of one service or (zero key) of all.
	Diff func(ctx context.Context, from, to string, key registry.ServiceKey, limit int) (any, error)
	// Blame tells which event put everything in a service's answer there.
	Blame func(ctx context.Context, at string, key registry.ServiceKey) (any, error)
	// Resolve tells what DNS would have answered.
	Resolve func(ctx context.Context, at, name, rrtype string) (any, error)
}

// AuditLog says which entries are wanted.
type AuditLog struct {
	Cluster registry.ClusterID  // "": any
	Service registry.ServiceKey // zero: any
	Kinds   []string            // none: all
	Since   string              // "": the beginning of the history
	Until   string              // "": its end
	Limit   int                 // never 0
	Newest  bool                // the last Limit entries, not the first
}

// Problem is an error with the status by which it is told.
type Problem struct {
	Status int // of HTTP
	Err    error
}

// Error is the sentence that is shown as detail.
func (p *Problem) Error() string { return p.Err.Error() }

// Unwrap returns the error itself.
func (p *Problem) Unwrap() error { return p.Err }

// Bounds of questions about the history: they read from the stream, and must not take
// from the answers of DNS.
const (
	auditEntries      = 100 // that are told when no limit is given
	auditEntriesMost  = 10_000
	auditBytes        = 16 << 20 // of the entries, as text; a single one may be larger
	auditServices     = 1_000    // likewise, of what stood, and of differences
	auditServicesMost = 10_000
	auditTime         = 30 * time.Second // for one question
	auditWait         = 5 * time.Second  // for the question before it
	auditHeavy        = 1                // questions at a time that may read very much
	auditLight        = 4                // others
	auditSend         = 10 * time.Second // for the client to take the answer
)

// auditor guards the questions.
type auditor struct {
	audit        *Audit // nil: there is no history to ask
	heavy, light chan struct{}
	send         time.Duration // for the client to take the answer
}

func newAuditor(audit *Audit) *auditor {
	return &auditor{audit: audit, heavy: make(chan struct{}, auditHeavy), light: make(chan struct{}, auditLight), send: auditSend}
}

// routes are the paths of the questions.
func (a *auditor) routes() map[string]func(http.ResponseWriter, *http.Request) {
	return map[string]func(http.ResponseWriter, *http.Request){
		"/v1/audit/log":     a.log,
		"/v1/audit/at":      a.at,
		"/v1/audit/diff":    a.diff,
		"/v1/audit/blame":   a.blame,
		"/v1/audit/resolve": a.resolve,
	}
}

// ask answers one question when its turn comes, or says why not.
func (a *auditor) ask(w http.ResponseWriter, r *http.Request, turn chan struct{}, f func(context.Context) (any, error)) {
	if a.audit == nil {
		writeProblem(w, http.StatusNotFound, "this server was not given the history")
		return
	}
	waiting := time.NewTimer(auditWait)
	defer waiting.Stop()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-waiting.C:
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusServiceUnavailable, "other questions about the history are being answered: ask again in a few seconds, or read the stream itself with seamark audit --nats")
		return
	case <-r.Context().Done():
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), auditTime)
	defer cancel()
	answer, err := f(ctx)
	var p *Problem
	switch {
	case err == nil:
		// A client that does not read must not keep others from their turn.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.send)) // one that can't be set is no network's
		writeJSON(w, answer)
	case errors.As(err, &p):
		writeProblem(w, p.Status, p.Error())
	case ctx.Err() != nil:
		writeProblem(w, http.StatusGatewayTimeout, fmt.Sprintf("this takes longer than %v: narrow the question, or read the stream itself with seamark audit --nats", auditTime))
	default:
		writeProblem(w, http.StatusInternalServerError, err.Error())
	}
}

// weight is whose turn a question must wait for: one about a single service reads little.
func (a *auditor) weight(key registry.ServiceKey) chan struct{} {
	if key == (registry.ServiceKey{}) {
		return a.heavy
	}
	return a.light
}

func (a *auditor) log(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r, "cluster", "service", "kind", "since", "until", "limit", "newest") {
		return
	}
	query := r.URL.Query()
	q := AuditLog{Since: query.Get("since"), Until: query.Get("until")}
	var ok bool
	if q.Service, ok = serviceParameter(w, query, false); !ok {
		return
	}
	if q.Limit, ok = numberParameter(w, query, "limit", auditEntries, auditEntriesMost); !ok {
		return
	}
	if cluster := query.Get("cluster"); cluster != "" {
		id, err := registry.ParseClusterID(cluster)
		if err != nil {
			writeProblem(w, http.StatusBadRequest, "parameter cluster: "+err.Error())
			return
		}
		q.Cluster = id
	}
	if kinds := query.Get("kind"); kinds != "" {
		q.Kinds = strings.Split(kinds, ",")
	}
	switch newest := query.Get("newest"); newest {
	case "":
		q.Newest = q.Since == ""
	case "true", "false":
		q.Newest = newest == "true"
	default:
		writeProblem(w, http.StatusBadRequest, "parameter newest is true or false")
		return
	}
	a.ask(w, r, a.weight(q.Service), func(ctx context.Context) (any, error) {
		asked := q
		asked.Limit++ // one more, to know whether there are
		reply := logReply{Entries: []json.RawMessage{}}
		for e, err := range a.audit.Log(ctx, asked) {
			if err != nil {
				return nil, err
			}
			text, err := encode(e)
			if err != nil {
				return nil, err
			}
			if !reply.add(text, q) {
				break
			}
		}
		return reply, nil
	})
}

// logReply is the answer to a question for the log. Its entries are held as the text they
// are shown as: nothing else of them is needed any more.
type logReply struct {
	Entries []json.RawMessage `json:"entries"`
	More    bool              `json:"more"` // there are more than the limit, or auditBytes, allow

	bytes int // of the entries
}

// add takes one more entry, and lets go what is too much: of the newest the oldest, else
// the entry itself. It reports whether the next one may be wanted.
func (l *logReply) add(text []byte, q AuditLog) (next bool) {
	tooMuch := func() bool { return len(l.Entries) > q.Limit || l.bytes > auditBytes && len(l.Entries) > 1 }
	l.Entries = append(l.Entries, text)
	l.bytes += len(text)
	for tooMuch() {
		l.More = true
		if !q.Newest {
			l.Entries = l.Entries[:len(l.Entries)-1]
			return false
		}
		l.bytes -= len(l.Entries[0])
		l.Entries[0] = nil
		l.Entries = l.Entries[1:]
	}
	return true
}

// encode is the text of a part of a body.
func encode(v any) (json.RawMessage, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.Clone(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), nil
}

func (a *auditor) at(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r, "at", "service", "limit") {
		return
	}
	query := r.URL.Query()
	key, ok := serviceParameter(w, query, false)
	if !ok {
		return
	}
	limit, ok := numberParameter(w, query, "limit", auditServices, auditServicesMost)
	if !ok {
		return
	}
	a.ask(w, r, a.weight(key), func(ctx context.Context) (any, error) { return a.audit.At(ctx, query.Get("at"), key, limit) })
}

func (a *auditor) diff(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r, "from", "to", "service", "limit") {
		return
	}
	query := r.URL.Query()
	key, ok := serviceParameter(w, query, false)
	if !ok {
		return
	}
	limit, ok := numberParameter(w, query, "limit", auditServices, auditServicesMost)
	if !ok {
		return
	}
	if query.Get("from") == "" {
		writeProblem(w, http.StatusBadRequest, "the parameter from is missing: for example /v1/audit/diff?from=14:00&to=14:10")
		return
	}
	a.ask(w, r, a.weight(key), func(ctx context.Context) (any, error) {
		return a.audit.Diff(ctx, query.Get("from"), query.Get("to"), key, limit)
	})
}

func (a *auditor) blame(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r, "at", "service") {
		return
	}
	query := r.URL.Query()
	key, ok := serviceParameter(w, query, true)
	if !ok {
		return
	}
	a.ask(w, r, a.light, func(ctx context.Context) (any, error) { return a.audit.Blame(ctx, query.Get("at"), key) })
}

// resolve also answers /v1/resolve with a parameter at.
func (a *auditor) resolve(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r, "at", "name", "type") {
		return
	}
	query := r.URL.Query()
	if query.Get("name") == "" {
		writeProblem(w, http.StatusBadRequest, "the parameter name is missing: for example /v1/audit/resolve?at=14:02&name=web.shop.svc.mesh.internal&type=A")
		return
	}
	a.ask(w, r, a.heavy, func(ctx context.Context) (any, error) {
		return a.audit.Resolve(ctx, query.Get("at"), query.Get("name"), query.Get("type"))
	})
}

// serviceParameter reads the parameter service, NAMESPACE/NAME; where it is not required
// and not given the key is zero.
func serviceParameter(w http.ResponseWriter, query url.Values, required bool) (key registry.ServiceKey, ok bool) {
	text := query.Get("service")
	if text == "" && !required {
		return key, true
	}
	namespace, name, both := strings.Cut(text, "/")
	if !both {
		namespace, name = registry.DefaultNamespace, text
	}
	key, err := registry.ParseServiceKey(namespace, name)
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "parameter service, NAMESPACE/NAME: "+err.Error())
		return key, false
	}
	return key, true
}

// numberParameter reads a number from 1 to most.
func numberParameter(w http.ResponseWriter, query url.Values, name string, otherwise, most int) (n int, ok bool) {
	text := query.Get(name)
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		writeProblem(w, http.StatusBadRequest, fmt.Sprintf("parameter %s is a number from 1 to %d", name, most))
		return 0, false
	}
	return n, true
}
