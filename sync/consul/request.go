package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxBody bounds a reply: 100,000 names, or the biggest node, are far below.
const maxBody = 64 << 20

// reply is a 200 from Consul.
type reply struct {
	index     uint64
	leader    bool // X-Consul-KnownLeader; never set by the streaming backend
	streaming bool
	behind    bool // the server that answered has not heard of the leader just now
	filtered  bool // ACLs hid a part; never set by the streaming backend, nor for an anonymous token
	elapsed   time.Duration
	body      []byte
}

// statusError is an answer that is not 200.
type statusError struct {
	code int
	text string // what Consul said, clipped
}

func (e *statusError) Error() string {
	if e.code == http.StatusTooManyRequests {
		return fmt.Sprintf("connection limit (429 %s): use https, or raise limits.http_max_conns_per_client and run consul reload", e.text)
	}
	return fmt.Sprintf("%d %s", e.code, e.text)
}

// limitError is what the connection limit looks like where no request gets an
// answer: Consul writes an HTTP/1.1 429 into any new connection, whatever that
// expects, and closes it.
type limitError struct{ err error }

func (e *limitError) Error() string {
	return "probably the connection limit (limits.http_max_conns_per_client): " + e.err.Error()
}
func (e *limitError) Unwrap() error { return e.err }

// brokenFrames reports whether an HTTP/2 connection received something else.
func brokenFrames(err error) bool {
	text := err.Error()
	return strings.Contains(text, "frame too large") || strings.Contains(text, "malformed HTTP response") ||
		strings.Contains(text, "http2: client conn could not be established")
}

// closed reports whether a connection ended without an answer. Where Consul closes a
// new TLS connection before the handshake, that is all the limit shows of itself.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// limited reports whether Consul refused because of too many connections.
func limited(err error) bool {
	status, limit := new(statusError), new(limitError)
	return errors.As(err, &status) && status.code == http.StatusTooManyRequests || errors.As(err, &limit)
}

// unreadable reports whether Consul refuses to be asked for just this name: it
// cleans paths, so a service whose name looks like one cannot be asked for.
func unreadable(err error) bool {
	status := new(statusError)
	if !errors.As(err, &status) {
		return false
	}
	switch status.code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
		http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestURITooLong:
		return true
	}
	return false
}

// get asks for path, whose parts must be escaped.
func (c *client) get(ctx context.Context, h *http.Client, path string, query url.Values, limit time.Duration) (reply, error) {
	return c.do(ctx, h, http.MethodGet, path, query, nil, limit)
}

func (c *client) do(ctx context.Context, h *http.Client, method, path string, query url.Values, body []byte, limit time.Duration) (reply, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	r, err := c.exchange(ctx, h, method, path, query, body)
	r.elapsed = time.Since(started)
	if err == nil {
		c.answered.Store(true)
		return r, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if status := new(statusError); !errors.As(err, &status) && (c.refused.Load() || brokenFrames(err) ||
		closed(err) && c.secure() && !c.answered.Load()) {
		err = &limitError{err: err}
	}
	return reply{}, fmt.Errorf("%s %s: %w", method, clip(path), err)
}

func (c *client) exchange(ctx context.Context, h *http.Client, method, path string, query url.Values, body []byte) (reply, error) {
	at := c.address.base.String() + path
	if c.config.Datacenter != "" {
		at += "?dc=" + url.QueryEscape(c.config.Datacenter) + "&" + query.Encode()
	} else if len(query) > 0 {
		at += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if token := c.token.Load().(string); token != "" {
		request.Header.Set("X-Consul-Token", token)
	}
	response, err := h.Do(request)
	if err != nil {
		wrapped := new(url.Error)
		if errors.As(err, &wrapped) { // it repeats the URL
			err = wrapped.Err
		}
		return reply{}, err
	}
	defer response.Body.Close()
	c.major.Store(int32(response.ProtoMajor))
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 512))
		return reply{}, &statusError{code: response.StatusCode, text: clip(strings.TrimSpace(string(text)))}
	}
	header := response.Header
	r := reply{
		leader:    header.Get("X-Consul-Knownleader") == "true",
		streaming: header.Get("X-Consul-Query-Backend") == "streaming",
		behind:    header.Get("X-Consul-Lastcontact") != "" && header.Get("X-Consul-Lastcontact") != "0",
		filtered:  header.Get("X-Consul-Results-Filtered-By-Acls") == "true",
	}
	r.index, _ = strconv.ParseUint(header.Get("X-Consul-Index"), 10, 64) // absent or broken: 0, no data
	if header.Get("X-Consul-Default-Acl-Policy") == "deny" || r.filtered {
		c.acls.Store(true)
	}
	var b bytes.Buffer
	if n := response.ContentLength; n > 0 && n < maxBody {
		b.Grow(int(n) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return reply{}, fmt.Errorf("reply cut short: %w", err)
	}
	if n > maxBody {
		return reply{}, fmt.Errorf("reply of more than %d bytes", maxBody)
	}
	r.body = b.Bytes()
	return r, nil
}

// ask reads the state of now from the leader into a T. It gives an error
// wherever the reply is no data.
//
// It asks with "consistent", because a leader that has just been elected answers
// ordinary reads while it still replays its log: after a restart of the server
// that is a part of the catalog, with a leader and an index like any other.
func ask[T any](ctx context.Context, c *client, path string, query url.Values, limit time.Duration) (v T, r reply, err error) {
	all := url.Values{"consistent": {""}}
	maps.Copy(all, query)
	r, err = c.get(ctx, c.reads, path, all, limit)
	if err == nil {
		err = r.trusted()
	}
	if err == nil {
		err = json.Unmarshal(r.body, &v)
	}
	if err != nil {
		return v, r, fmt.Errorf("reading %s: %w", clip(path), err)
	}
	r.body = nil
	return v, r, nil
}

var errNoData = errors.New("Consul has no data")

// trusted is nil where the reply is what a leader says of now.
func (r reply) trusted() error {
	switch {
	case r.index <= 1:
		return fmt.Errorf("index %d: %w", r.index, errNoData)
	case !r.leader && !r.streaming:
		return errors.New("Consul knows no leader")
	}
	return nil
}

// clip shortens what came from outside for a message.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s), "?")
}
