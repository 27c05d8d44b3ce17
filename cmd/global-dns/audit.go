package main

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// errNoStream is told until the stream was reached for the first time.
var errNoStream = errors.New("NATS was not reached yet: there is no history to ask")

// asker returns who answers questions about the stream's history.
func (c *connection) asker(ctx context.Context) (auditing.Asker, error) {
	conn := c.reached.Load()
	if conn == nil {
		return nil, &api.Problem{Status: http.StatusServiceUnavailable, Err: errNoStream}
	}
	h, err := c.remembered.of(ctx, conn)
	if err != nil {
		return nil, err
	}
	return auditing.Direct{History: h, Now: time.Now()}, nil
}

// remembering keeps what was proven of a stream's history from question to question.
type remembering struct {
	refuses stream.Check // set before the stream was reached; nil: nothing is refused
	latest  atomic.Pointer[proven]
	kept    keptHistory
}

// proven is the history of one stream, and how that was when it was last asked.
type proven struct {
	*audit.Remembered
	conn    *stream.Conn
	created time.Time
	span    audit.Span
	joined  *archive.Joined // with the archive; nil: the stream is asked alone
}

// of returns the history of the stream that a connection leads to now. What was proven of
// another one says nothing about it, also where that is the same one put back from a copy.
func (r *remembering) of(ctx context.Context, conn *stream.Conn) (*audit.Remembered, error) {
	was := r.latest.Load() // before the stream is asked: so it can't be ahead of the answer
	live := audit.OfStream(conn)
	created, err := conn.Created(ctx)
	if err != nil {
		return nil, err
	}
	span, err := live.Span(ctx)
	if err != nil {
		return nil, err
	}
	is := &proven{conn: conn, created: created, span: span}
	same := was != nil && was.conn == conn && was.created.Equal(created) && was.span.Began == span.Began &&
		was.span.First <= span.First && was.span.Last <= span.Last
	if same {
		is.joined, is.Remembered = was.joined, was.Remembered // what was joined was compared with this stream
	}
	if joined := r.kept.join(ctx, live, is.joined); !same || joined != is.joined {
		is.joined, is.Remembered = joined, audit.Remember(r.history(live, joined))
	}
	r.latest.CompareAndSwap(was, is) // else another question has just told the same
	return is.Remembered, nil
}

// history is what questions are asked of.
func (r *remembering) history(live audit.History, joined *archive.Joined) audit.History {
	h := live
	if joined != nil {
		h = joined
	}
	if r.refuses != nil {
		h = audit.Checked(h, r.refuses)
	}
	return h
}

// audit answers the questions of the HTTP API.
func (c *connection) audit() *api.Audit {
	return &api.Audit{
		Log: c.auditLog,
		At: func(ctx context.Context, at string, key registry.ServiceKey, limit int) (any, error) {
			return answer(ctx, c, func(a auditing.Asker) (auditing.Standing, error) {
				s, err := a.At(ctx, at, key)
				s.Bound(limit)
				return s, err
			})
		},
		Diff: func(ctx context.Context, from, to string, key registry.ServiceKey, limit int) (any, error) {
			return answer(ctx, c, func(a auditing.Asker) (auditing.Difference, error) {
				d, err := a.Diff(ctx, from, to, key)
				d.Bound(limit)
				return d, err
			})
		},
		Blame: func(ctx context.Context, at string, key registry.ServiceKey) (any, error) {
			return answer(ctx, c, func(a auditing.Asker) (auditing.Blame, error) { return a.Blame(ctx, at, key) })
		},
		Resolve: func(ctx context.Context, at, name, rrtype string) (any, error) {
			return answer(ctx, c, func(a auditing.Asker) (auditing.Resolution, error) { return a.Resolve(ctx, at, name, rrtype) })
		},
	}
}

func answer[T any](ctx context.Context, c *connection, f func(auditing.Asker) (T, error)) (any, error) {
	a, err := c.asker(ctx)
	if err != nil {
		return nil, err
	}
	v, err := f(a)
	return v, problem(err)
}

func (c *connection) auditLog(ctx context.Context, q api.AuditLog) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		a, err := c.asker(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		kinds, err := auditing.ParseKinds(q.Kinds)
		if err != nil {
			yield(nil, problem(err))
			return
		}
		asked := auditing.LogQuestion{
			Cluster: q.Cluster, Service: q.Service, Kinds: kinds, Since: q.Since, Until: q.Until, Limit: q.Limit, Newest: q.Newest,
		}
		for e, err := range a.Log(ctx, asked) {
			e.Event = nil // it is not shown, and may be large
			if !yield(e, problem(err)) {
				return
			}
		}
	}
}

// problem gives an error the status by which it is told.
func problem(err error) error {
	var early *audit.TooEarlyError
	var notYet *audit.NotYetError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &early):
		return &api.Problem{Status: http.StatusGone, Err: err}
	case errors.As(err, &notYet), errors.Is(err, auditing.ErrNoZone):
		return &api.Problem{Status: http.StatusBadRequest, Err: err}
	case errors.Is(err, auditing.ErrUnknown):
		return &api.Problem{Status: http.StatusNotFound, Err: err}
	case auditing.IsQuestion(err):
		return &api.Problem{Status: http.StatusBadRequest, Err: err}
	}
	return err
}
