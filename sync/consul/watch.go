package consul

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// stream is one blocking query that is repeated for ever.
type stream struct {
	path  string
	query url.Values    // besides index and wait
	index uint64        // of what is known already; 0: nothing is
	gap   time.Duration // least time between two replies
}

// How long a stream rests after a big reply: it is dear on both sides, so it is to
// carry more than one change. The time it took says less than its size: on a busy
// machine that grows with what everybody does.
const (
	restPerByte = 40 * time.Nanosecond
	leastRest   = time.Millisecond
	maxRest     = 50 * time.Millisecond
)

// watch follows a stream on a goroutine of its own; take runs in the loop, for
// each reply that has news, with that reply but for its body.
func watch[T any](ctx context.Context, w *session, s stream, take func(r reply, v T)) {
	w.wg.Go(func() {
		if err := follow(ctx, w, s, take); err != nil {
			w.fail(err)
		}
	})
}

// follow repeats a blocking query until ctx ends (nil) or it cannot be trusted.
func follow[T any](ctx context.Context, w *session, s stream, take func(r reply, v T)) error {
	h, leave := w.client.open()
	defer leave()
	for {
		sent := time.Now()
		r, err := w.next(ctx, h, s)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watching %s: %w", clip(s.path), err)
		}
		if r.index == s.index {
			continue // the wait ended
		}
		s.index = r.index
		var v T
		if err := json.Unmarshal(r.body, &v); err != nil {
			return fmt.Errorf("watching %s: %w", clip(s.path), err)
		}
		rest := max(s.gap-time.Since(sent), min(time.Duration(len(r.body))*restPerByte, maxRest))
		r.body = nil
		if !w.run(ctx, func() { take(r, v) }) {
			return nil
		}
		if rest > leastRest && pause(ctx, rest) != nil {
			return nil
		}
	}
}

// next sends the query once. The rules: index 0 or 1 is no data; an index that
// stays means that the wait ended, and the body means nothing; an index that goes
// back, or stays before the wait can have ended, means that the state behind it
// was swapped.
func (w *session) next(ctx context.Context, h *http.Client, s stream) (reply, error) {
	query, limit := url.Values{}, w.source.timing.request
	maps.Copy(query, s.query)
	wait := around(w.source.timing.wait)
	if !w.client.multiplexed() {
		wait = around(w.source.timing.plainWait)
	}
	if s.index > 0 {
		query.Set("index", strconv.FormatUint(s.index, 10))
		query.Set("wait", wait.String())
		limit += wait + wait/16 // Consul adds up to a sixteenth
	}
	sent := time.Now()
	r, err := w.client.get(ctx, h, s.path, query, limit)
	if err != nil {
		if ctx.Err() != nil && !w.client.multiplexed() {
			w.source.linger(sent.Add(wait + wait/16))
		}
		return reply{}, err
	}
	switch {
	case r.index < s.index && r.index > 1:
		return reply{}, &restartError{why: fmt.Sprintf("%s went back from index %d to %d", clip(s.path), s.index, r.index)}
	case r.trusted() != nil:
		return reply{}, r.trusted()
	case r.index == s.index && r.elapsed < wait*8/10:
		return reply{}, &restartError{why: fmt.Sprintf("%s returned after %v without news", clip(s.path), r.elapsed.Round(time.Millisecond))}
	}
	return r, nil
}
