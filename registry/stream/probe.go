package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
)

// ErrNotPermitted says that the server refuses these credentials the right to a
// subject. Nothing changes about it before the next reconnect.
var ErrNotPermitted = errors.New("the credentials do not permit it")

// PutProbe replaces what a vantage point reports of a cluster in [LeaseStream]. Any
// number of calls may run at once; two for one vantage point and cluster may be stored
// in either order. A report that would be too large goes without its latencies, then
// without its errors; it says so itself, and cut says so here.
//
// [ErrNotPermitted] says that the credentials lack the right to [ProbeSubject]. After
// any other error the report may or may not be stored; sending it again is harmless.
func (c *Conn) PutProbe(ctx context.Context, r registry.ProbeReport) (cut bool, err error) {
	subject := ProbeSubject(r.Vantage, r.Cluster)
	if _, _, ok := parseProbeSubject(subject); !ok {
		return false, fmt.Errorf("probe report: %q and %q are no vantage point and cluster", clip(r.Vantage), clip(string(r.Cluster)))
	}
	limit := int64(maxLeaseMessage)
	if most := c.nats.MaxPayload(); most > 0 {
		limit = min(limit, most)
	}
	body, cut, err := fitReport(r, int(limit-min(headroom, limit/2)))
	if err != nil {
		return cut, fmt.Errorf("probe report of %s about %s: %w", r.Vantage, r.Cluster, err)
	}
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{headerContentType: {contentJSON}}}
	if _, err := c.publish(ctx, LeaseStream, m); err != nil {
		return cut, c.denied(subject, err)
	}
	return cut, nil
}

// fitReport encodes a report within limit bytes. The caller's report is not changed.
func fitReport(r registry.ProbeReport, limit int) (body []byte, cut bool, err error) {
	if body, err = registry.EncodeProbeReport(r); err != nil || len(body) <= limit {
		return body, false, err
	}
	r.Gateways, r.Cut = slices.Clone(r.Gateways), true
	for _, drop := range []func(*registry.GatewayReport){
		func(g *registry.GatewayReport) { g.Latency = nil },
		func(g *registry.GatewayReport) { g.Error = "" },
		func(g *registry.GatewayReport) { g.Since = g.Since.UTC().Truncate(time.Second) },
	} {
		for n := range r.Gateways {
			drop(&r.Gateways[n])
		}
		if body, err = registry.EncodeProbeReport(r); err != nil || len(body) <= limit {
			return body, true, err
		}
	}
	return nil, true, fmt.Errorf("%d bytes without latencies and errors, more than %d", len(body), limit)
}

// WatchProbes calls f for each report as it stands, of all vantage points and about all
// clusters, then for each new one, until ctx ends; it then returns ctx's error. Stored
// is by the server's clock, received by this process's (with its monotonic part). Calls
// do not overlap, and the report is f's to keep. A report that can't be understood, or
// that speaks for another vantage point or of another cluster than its subject, is passed
// over, and said once for each subject in the log.
func (c *Conn) WatchProbes(ctx context.Context, f func(r registry.ProbeReport, stored, received time.Time)) error {
	said := map[string]bool{}
	config := tailConfig{stream: LeaseStream, filters: []string{root + "*.probe.*"}, policy: LastPerSubject, restart: true}
	return c.follow(ctx, config, func(i item) error {
		if i.sequence == 0 {
			return nil
		}
		r, err := decodeReport(i.subject, i.data)
		if err == nil {
			f(r, i.stored, i.received)
			return nil
		}
		if !said[i.subject] && len(said) < 1000 {
			said[i.subject] = true
			c.log.Warn("a probe report can't be understood", "subject", clip(i.subject), "err", err)
		}
		return nil
	})
}

// decodeReport holds a report to its subject.
func decodeReport(subject string, data []byte) (registry.ProbeReport, error) {
	vantage, cluster, ok := parseProbeSubject(subject)
	if !ok {
		return registry.ProbeReport{}, refuse("subject", fmt.Sprintf("%q is no probe report's subject", clip(subject)))
	}
	r, err := registry.DecodeProbeReport(data)
	if err != nil {
		return registry.ProbeReport{}, err
	}
	if r.Vantage != vantage || r.Cluster != cluster {
		return registry.ProbeReport{}, refuse("foreign", fmt.Sprintf("the subject says %s about %s, the report %s about %s",
			vantage, cluster, clip(r.Vantage), clip(string(r.Cluster))))
	}
	return r, nil
}

// WatchClusters calls f for each cluster's own record as it stands in [EventsStream],
// then for each new one, until ctx ends; it then returns ctx's error. Calls do not
// overlap. A record that can't be used is given with Refused set. When the stream is
// made anew, the reading begins again, so that f may hear of older records than before.
//
// It returns [ErrNotPermitted] when these credentials may not read mesh.v1.*.cluster.
func (c *Conn) WatchClusters(ctx context.Context, f func(registry.Message)) error {
	return c.watchLatest(ctx, root+"*.cluster", f)
}

// WatchLeaves does the same for the orders by which clusters leave, and come back.
//
// It returns [ErrNotPermitted] when these credentials may not read
// mesh.v1._operator.order.leave.*.
func (c *Conn) WatchLeaves(ctx context.Context, f func(registry.Message)) error {
	return c.watchLatest(ctx, root+string(registry.Operator)+".order."+registry.OrderLeave+".*", f)
}

// watchLatest follows what stands on the subjects of one filter.
func (c *Conn) watchLatest(ctx context.Context, filter string, f func(registry.Message)) error {
	if err := c.mayRead(ctx, EventsStream, filter); err != nil {
		return err
	}
	decoder := &registry.Decoder{}
	config := tailConfig{stream: EventsStream, filters: []string{filter}, policy: LastPerSubject, restart: true}
	return c.follow(ctx, config, func(i item) error {
		if i.sequence != 0 {
			m, _ := decode(decoder, i)
			f(m)
		}
		return nil
	})
}

// mayRead makes a consumer that nobody asks, to learn whether the server lets these
// credentials have one. What else goes wrong is left to who reads.
func (c *Conn) mayRead(ctx context.Context, stream, filter string) error {
	bounded, stop := c.bound(ctx)
	defer stop()
	_, err := c.js.CreateConsumer(bounded, stream, jetstream.ConsumerConfig{
		Name: consumerPrefix + rand.Text(), FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Second,
	})
	if err = c.denied(filter, err); errors.Is(err, ErrNotPermitted) {
		return err
	}
	return nil
}

// denied returns the error of a request, as [ErrNotPermitted] where the reason why no
// answer came is that the server refused a subject that ends with this one.
func (c *Conn) denied(subject string, err error) error {
	if err == nil {
		return nil
	}
	if refused := c.violations.find(subject); refused != nil {
		return fmt.Errorf("%w: %w", ErrNotPermitted, refused)
	}
	return err
}

// violations remembers what the server refused: it tells so beside the request, which
// only goes unanswered. The zero violations are none; any number of goroutines may use them.
type violations struct {
	mu     sync.Mutex // guards latest
	latest []error
}

const maxViolations = 64

func (v *violations) add(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.latest = append(v.latest, err); len(v.latest) > maxViolations {
		v.latest = slices.Delete(v.latest, 0, len(v.latest)-maxViolations)
	}
}

// find returns the latest refusal of a subject that ends with this one; nil when there is none.
func (v *violations) find(subject string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	end := strings.ToLower(subject) + `"` // the client library's text has the subject in quotation marks
	for _, err := range slices.Backward(v.latest) {
		if strings.Contains(strings.ToLower(err.Error()), end) {
			return err
		}
	}
	return nil
}

// forget is for a new connection: it may have other rights.
func (v *violations) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.latest = nil
}
