package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// httpReply is an answer with its body read.
type httpReply struct {
	status       int
	body         []byte
	date         time.Time // of the Date header (RFC 9110 §6.6.1), in whole seconds
	asked, given time.Time
	tls          *tls.ConnectionState
}

// fetch asks for a path below a URL.
func fetch(ctx context.Context, client *http.Client, base, path string) (httpReply, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return httpReply{}, fmt.Errorf("%q is no URL: write for example http://127.0.0.1:8080", base)
	}
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(path).String(), nil)
	if err != nil {
		return httpReply{}, err
	}
	r := httpReply{asked: time.Now()}
	reply, err := client.Do(request)
	if err != nil {
		return r, fmt.Errorf("is not reached: %w", err)
	}
	defer reply.Body.Close()
	r.given, r.status, r.tls = time.Now(), reply.StatusCode, reply.TLS
	r.date, _ = http.ParseTime(reply.Header.Get("Date")) // zero when there is none
	if r.body, err = io.ReadAll(io.LimitReader(reply.Body, maxBody)); err != nil {
		return r, fmt.Errorf("get %s: %w", path, err)
	}
	return r, nil
}

func fetchJSON(ctx context.Context, client *http.Client, base, path string, v any) error {
	r, err := fetch(ctx, client, base, path)
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		return fmt.Errorf("%s answers %d", path, r.status)
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		return fmt.Errorf("%s does not answer as it should: %w", path, err)
	}
	return nil
}

// newClient returns a client with connections of its own, which the caller closes.
func newClient() (client *http.Client, done func()) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	return &http.Client{Transport: transport}, transport.CloseIdleConnections
}

// reader asks one global-dns.
func (g *gathering) reader(ctx context.Context, base string) Reader {
	r := Reader{URL: base}
	client, done := newClient()
	defer done()
	wait(ctx, g.streamsKnown) // first the end of the stream, then how far the reader is
	if r.Err = fetchJSON(ctx, client, base, "/v1/status", &r.Status); r.Err != nil {
		return r
	}
	ready, err := fetch(ctx, client, base, "/readyz")
	if r.Err = err; err != nil {
		return r
	}
	r.Ready, r.Said = ready.status == http.StatusOK, detail(ready.body)
	r.Sequence = g.level(ctx, client, base, r.Status.Sequence)
	wait(ctx, g.viewKnown)
	r.Seen = append(r.Seen, g.stream.view())
	var clusters struct {
		Clusters []struct {
			Cluster registry.ClusterID `json:"cluster"`
			Content
		} `json:"clusters"`
	}
	if err := fetchJSON(ctx, client, base, "/v1/clusters", &clusters); err == nil { // while it is not ready there is none
		r.Digests = map[registry.ClusterID]Content{}
		for _, c := range clusters.Clusters {
			r.Digests[c.Cluster] = c.Content
		}
	}
	r.Metrics = metrics(ctx, client, base)
	r.Clock, r.ClockErr = clockOf(ctx, client, base)
	r.Seen = append(r.Seen, g.stream.view())
	return r
}

// level gives a reader a few seconds to come as far as the stream was before it was asked.
func (g *gathering) level(ctx context.Context, client *http.Client, base string, sequence uint64) uint64 {
	want := g.facts.Streams.Events.Last
	for until := time.Now().Add(catchUp); sequence < want && time.Now().Before(until) && pause(ctx, 200*time.Millisecond); {
		var s ReaderStatus
		if fetchJSON(ctx, client, base, "/v1/status", &s) == nil {
			sequence = max(sequence, s.Sequence)
		}
	}
	return sequence
}

// detail returns what a problem (RFC 9457) or a plain text says.
func detail(body []byte) string {
	var problem struct{ Title, Detail string }
	if json.Unmarshal(body, &problem) == nil && problem.Detail+problem.Title != "" {
		if problem.Detail != "" {
			return problem.Detail
		}
		return problem.Title
	}
	return strings.TrimSpace(string(body[:min(len(body), 256)]))
}

// metrics reads the metrics without labels that checks look at; none when there are none.
func metrics(ctx context.Context, client *http.Client, base string) map[string]float64 {
	all := map[string]float64{}
	reply, err := fetch(ctx, client, base, "/metrics")
	if err != nil || reply.status != http.StatusOK {
		return all
	}
	lines := bufio.NewScanner(strings.NewReader(string(reply.body)))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if number, err := strconv.ParseFloat(strings.TrimSpace(value), 64); ok && err == nil && strings.HasPrefix(name, "seamark_") {
			all[name] = number
		}
	}
	return all
}

// Steps of looking for the moment at which a second begins on another machine.
const (
	coarse = 50 * time.Millisecond
	fine   = 4 * time.Millisecond
)

var errNoDate = errors.New("its answers have no date")

// clockOf bounds how far the clock of an HTTP server is ahead. Its answers tell whole
// seconds only; so it is asked often until the second changes, and about that moment once
// more, more often.
func clockOf(ctx context.Context, client *http.Client, base string) (Interval, error) {
	around, err := tick(ctx, client, base, coarse, 25)
	if err != nil {
		return around, err
	}
	// The same moment of the next second, by this machine's clock.
	sinceTick := time.Duration(time.Now().Add(around.High).Nanosecond())
	if !pause(ctx, max(0, time.Second-sinceTick-3*fine)) {
		return around, context.Cause(ctx)
	}
	again, err := tick(ctx, client, base, fine, int((coarse+6*fine)/fine)+5)
	if err != nil {
		return around, nil // the first one stands
	}
	return narrower(around, again), nil
}

// tick asks until the second changes, at most so many times, and returns what that says.
func tick(ctx context.Context, client *http.Client, base string, step time.Duration, most int) (Interval, error) {
	var before httpReply
	for n := range most {
		now, err := fetch(ctx, client, base, "/healthz")
		switch {
		case err != nil:
			return Interval{}, err
		case now.date.IsZero():
			return Interval{}, errNoDate
		case n > 0 && now.date.After(before.date):
			// The second now.date began after before was asked and before now was given.
			return Interval{Low: now.date.Sub(now.given), High: now.date.Sub(before.asked)}, nil
		}
		before = now
		if !pause(ctx, step) {
			return Interval{}, context.Cause(ctx)
		}
	}
	return Interval{}, errors.New("its clock stands still")
}

// agent asks one edge-sync.
func (g *gathering) agent(ctx context.Context, base string) Agent {
	a := Agent{URL: base}
	client, done := newClient()
	defer done()
	err := fetchJSON(ctx, client, base, "/v1/status", &a)
	a.URL, a.Err = base, err
	return a
}
