package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

// remote asks a global-dns, which asks its stream.
type remote struct {
	client client
	now    time.Time
}

var _ auditing.Asker = remote{}

// most is how many entries, or differences, one request may bring.
const most = 10_000

// get asks one question. Points of time mean what they mean here, not where global-dns
// runs, so they are sent as times or sequences. Only what is counted from now is left to
// its clock: by this one, where that is ahead, now would be in the future.
func (r remote) get(ctx context.Context, path string, parameters, times map[string]string, v any) error {
	query := url.Values{}
	for name, value := range parameters {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, text := range times {
		if text == "" {
			continue
		}
		when, err := audit.ParseWhen(text, r.now)
		if err != nil {
			return proc.Usage(err)
		}
		if audit.Relative(text) {
			query.Set(name, text)
		} else {
			query.Set(name, when.String())
		}
	}
	return r.client.get(ctx, path, query, v)
}

func keyText(key registry.ServiceKey) string {
	if key == (registry.ServiceKey{}) {
		return ""
	}
	return key.String()
}

// Log implements [auditing.Asker].
func (r remote) Log(ctx context.Context, q auditing.LogQuestion) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		if q.Follow {
			yield(audit.Entry{}, proc.Usage(errors.New("--follow reads the stream itself: add --nats URL")))
			return
		}
		limit := min(q.Limit, most)
		if limit == 0 {
			limit = most
		}
		parameters := map[string]string{"cluster": string(q.Cluster), "service": keyText(q.Service), "limit": strconv.Itoa(limit)}
		for _, k := range q.Kinds {
			if parameters["kind"] != "" {
				parameters["kind"] += ","
			}
			parameters["kind"] += string(k)
		}
		if q.Newest {
			parameters["newest"] = "true"
		}
		var reply struct {
			Entries []audit.Entry `json:"entries"`
			More    bool          `json:"more"`
		}
		if err := r.get(ctx, "/v1/audit/log", parameters, map[string]string{"since": q.Since, "until": q.Until}, &reply); err != nil {
			yield(audit.Entry{}, err)
			return
		}
		for _, e := range reply.Entries {
			if !yield(e, nil) {
				return
			}
		}
		if told := len(reply.Entries); reply.More && (q.Limit == 0 || told < q.Limit) {
			yield(audit.Entry{}, proc.Hint(fmt.Errorf("there are more: global-dns told %d, and tells no more than %d, or 16 MiB, at once", told, most),
				"narrow the question, or read the stream itself with --nats"))
		}
	}
}

// At implements [auditing.Asker].
func (r remote) At(ctx context.Context, at string, key registry.ServiceKey) (s auditing.Standing, err error) {
	err = r.get(ctx, "/v1/audit/at", map[string]string{"service": keyText(key)}, map[string]string{"at": at}, &s)
	return s, err
}

// Diff implements [auditing.Asker].
func (r remote) Diff(ctx context.Context, from, to string, key registry.ServiceKey) (d auditing.Difference, err error) {
	err = r.get(ctx, "/v1/audit/diff", map[string]string{"service": keyText(key), "limit": strconv.Itoa(most)}, map[string]string{"from": from, "to": to}, &d)
	return d, err
}

// Blame implements [auditing.Asker].
func (r remote) Blame(ctx context.Context, at string, key registry.ServiceKey) (b auditing.Blame, err error) {
	err = r.get(ctx, "/v1/audit/blame", map[string]string{"service": keyText(key)}, map[string]string{"at": at}, &b)
	return b, err
}

// Resolve implements [auditing.Asker].
func (r remote) Resolve(ctx context.Context, at, name, rrtype string) (a auditing.Resolution, err error) {
	if at == "" {
		at = "now"
	}
	err = r.get(ctx, "/v1/audit/resolve", map[string]string{"name": name, "type": rrtype}, map[string]string{"at": at}, &a)
	return a, err
}
