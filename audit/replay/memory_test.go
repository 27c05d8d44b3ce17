package replay

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// dawn is when the histories of these tests begin: whole seconds, as epochs are.
var dawn = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// memory is a history that is held in memory, without gaps.
type memory []registry.Stored

func (m memory) Span(context.Context) (audit.Span, error) {
	if len(m) == 0 {
		return audit.Span{First: 1}, nil
	}
	last := m[len(m)-1]
	return audit.Span{Began: m[0].Sequence, First: m[0].Sequence, Last: last.Sequence, Begin: m[0].Time, End: last.Time}, nil
}

func (m memory) SequenceAt(_ context.Context, t time.Time) (uint64, error) {
	for _, s := range m {
		if !s.Time.Before(t) {
			return s.Sequence, nil
		}
	}
	return uint64(len(m)) + 1, nil
}

func (m memory) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for _, s := range m {
			if ctx.Err() != nil {
				yield(registry.Stored{}, context.Cause(ctx))
				return
			}
			if s.Sequence >= r.From && (r.To == 0 || s.Sequence <= r.To) && !yield(s, nil) {
				return
			}
		}
	}
}

func (m memory) Latest(_ context.Context, before uint64, _ ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		last := map[string]uint64{}
		for _, s := range m {
			if s.Sequence < before {
				last[s.Subject] = s.Sequence
			}
		}
		for _, s := range m {
			if last[s.Subject] == s.Sequence && !yield(s, nil) {
				return
			}
		}
	}
}

// moment is the state after a sequence.
func (m memory) moment(sequence uint64) audit.Moment {
	return audit.Moment{Sequence: sequence, Time: m[sequence-1].Time}
}

// fold folds everything up to a sequence.
func (m memory) fold(sequence uint64) *registry.View {
	f := registry.NewFold()
	for _, s := range m[:sequence] {
		f.Apply(stream.Decode(s.Subject, s.Header, s.Body, s.Sequence, s.Time))
	}
	f.Synced()
	return f.View()
}

// author writes a history.
type author struct {
	tb       testing.TB
	all      memory
	at       time.Time
	revision map[registry.Writer]uint64
}

func newAuthor(tb testing.TB, clusters ...string) *author {
	a := &author{tb: tb, at: dawn, revision: map[registry.Writer]uint64{}}
	zone, faults := registry.CleanZone(registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
		Nameservers: []registry.Nameserver{{Name: "ns1.mesh.internal.", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}},
	})
	if len(faults) > 0 {
		tb.Fatal(faults)
	}
	a.add(&registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Cause: registry.CauseSeed, Zone: &zone})
	for n, cluster := range clusters {
		w := registry.Writer(cluster)
		a.add(&registry.Event{Kind: registry.KindEpoch, Writer: w, Takeover: &registry.EpochRecord{}})
		a.add(&registry.Event{Kind: registry.KindCluster, Writer: w, Cluster: &registry.ClusterRecord{Cluster: registry.ClusterID(cluster), Gateways: []registry.Gateway{{
			Name: "gw-1", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(n + 1)})}, Ports: map[string]int{"http": 8080}, Weight: 1,
		}}}})
	}
	return a
}

// add stores an event, a second after the one before.
func (a *author) add(e *registry.Event) {
	a.tb.Helper()
	if e.Writer != registry.Operator {
		a.revision[e.Writer]++
		e.Epoch, e.Revision = uint64(dawn.Unix()), a.revision[e.Writer]
	}
	if e.Cause == "" {
		e.Cause = registry.CauseChange
	}
	e.Schema, e.Time, e.Agent = registry.Schema, a.at, "test@host"
	e.ID = fmt.Sprintf("%s-%d-%d-x", e.Writer, e.Epoch, e.Revision)
	subject, err := stream.Subject(e.Fact())
	if err != nil {
		a.tb.Fatal(err)
	}
	body, err := registry.Encode(e)
	if err != nil {
		a.tb.Fatal(err)
	}
	header := map[string][]string{}
	if e.Epoch > 0 {
		header["Seamark-Epoch"], header["Seamark-Revision"] = []string{strconv.FormatUint(e.Epoch, 10)}, []string{strconv.FormatUint(e.Revision, 10)}
	}
	a.put(registry.Stored{Subject: subject, Header: header, Body: body})
}

func (a *author) put(s registry.Stored) {
	s.Sequence, s.Time = uint64(len(a.all))+1, a.at
	a.all, a.at = append(a.all, s), a.at.Add(time.Second)
}

// service says how many instances of a service serve in a cluster.
func (a *author) service(cluster, name string, serving int) {
	a.tb.Helper()
	s := registry.Service{Key: registry.ServiceKey{Namespace: "default", Name: name}}
	for n := range serving {
		s.Instances = append(s.Instances, registry.Instance{
			ID: fmt.Sprintf("i%d", n), Address: fmt.Sprintf("10.0.0.%d", n+1), Port: 8080, Weight: 1, Health: registry.Passing, Version: "1.4.2",
			Meta: map[string]string{"team": "red"},
		})
	}
	state := registry.NewServiceState(s.Key, &s)
	state.Changed, state.Seen, state.Index = registry.Stamp{Epoch: uint64(dawn.Unix()), Revision: a.revision[registry.Writer(cluster)] + 1, Time: a.at}, a.at, "17"
	state.Changes = &registry.Changes{Added: []string{"i0"}}
	a.add(&registry.Event{Kind: registry.KindService, Writer: registry.Writer(cluster), Service: &state})
}
