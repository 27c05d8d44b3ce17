package auditing

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// kept is a history in memory.
type kept struct {
	audit.History
	all []registry.Stored
	now time.Time
}

func (k *kept) Span(context.Context) (audit.Span, error) {
	return audit.Span{First: 1, Last: uint64(len(k.all)), Begin: k.all[0].Time, End: k.all[len(k.all)-1].Time, Began: 1}, nil
}

func (k *kept) SequenceAt(_ context.Context, t time.Time) (uint64, error) {
	n := slices.IndexFunc(k.all, func(m registry.Stored) bool { return !m.Time.Before(t) })
	if n < 0 {
		n = len(k.all)
	}
	return uint64(n + 1), nil
}

func (k *kept) Read(_ context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for _, m := range k.all {
			if m.Sequence >= r.From && (r.To == 0 || m.Sequence <= r.To) && !yield(m, nil) {
				return
			}
		}
	}
}

// put stores an event, a second after the one before it.
func (k *kept) put(t *testing.T, e registry.Event) {
	t.Helper()
	k.now = k.now.Add(time.Second)
	e.Schema, e.Time, e.Agent, e.Cause, e.ID = registry.Schema, k.now, "test", registry.CauseChange, strconv.Itoa(len(k.all))
	header := map[string][]string{}
	if e.Writer != registry.Operator {
		e.Epoch, e.Revision = uint64(began.Unix()), uint64(len(k.all)+1)
		header["Seamark-Epoch"], header["Seamark-Revision"] = []string{strconv.FormatUint(e.Epoch, 10)}, []string{strconv.FormatUint(e.Revision, 10)}
	}
	subject, err := stream.Subject(e.Fact())
	if err != nil {
		t.Fatal(err)
	}
	body, err := registry.Encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	k.all = append(k.all, registry.Stored{Sequence: uint64(len(k.all) + 1), Time: k.now, Subject: subject, Header: header, Body: body})
}

var began = time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC)

const (
	amberGateway  = "192.0.2.1"
	bronzeGateway = "192.0.2.2"
)

func (k *kept) record(t *testing.T, cluster registry.ClusterID, addresses ...string) {
	t.Helper()
	r := &registry.ClusterRecord{Cluster: cluster, Gateways: []registry.Gateway{}}
	for n, a := range addresses {
		r.Gateways = append(r.Gateways, registry.Gateway{
			Name: fmt.Sprintf("gw-%d", n), Addresses: []netip.Addr{netip.MustParseAddr(a)}, Ports: map[string]int{"http": 80}, Weight: 1,
		})
	}
	k.put(t, registry.Event{Kind: registry.KindCluster, Writer: registry.Writer(cluster), Cluster: r})
}

func (k *kept) service(t *testing.T, cluster registry.ClusterID, name string) {
	t.Helper()
	key := registry.ServiceKey{Namespace: "default", Name: name}
	state := registry.NewServiceState(key, &registry.Service{Key: key, Instances: []registry.Instance{{ID: "i", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}}})
	k.put(t, registry.Event{Kind: registry.KindService, Writer: registry.Writer(cluster), Service: &state})
}

func (k *kept) order(t *testing.T, o registry.Order) {
	t.Helper()
	o.By, o.Reason = "ada", "test"
	k.put(t, registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o})
}

func (k *kept) state(t *testing.T, cluster registry.ClusterID, state registry.Liveness) {
	t.Helper()
	k.put(t, registry.Event{Kind: registry.KindState, Writer: registry.Observer, State: &registry.StateRecord{Cluster: cluster, State: state, Since: k.now, Reason: "test"}})
}

func (k *kept) zone(t *testing.T, withdraw ...registry.Pattern) {
	t.Helper()
	k.put(t, registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, StaleTTL: 1, Contact: "hostmaster.mesh.internal.", Withdraw: withdraw,
	}})
}

// twoClusters is a mesh of which nothing is said any more: web and api in amber and bronze,
// solo in bronze.
func twoClusters(t *testing.T) *kept {
	t.Helper()
	k := &kept{now: began}
	k.zone(t)
	for _, w := range []registry.Writer{registry.Observer, "amber", "bronze"} {
		k.put(t, registry.Event{Kind: registry.KindEpoch, Writer: w, Takeover: &registry.EpochRecord{}})
	}
	k.record(t, "amber", amberGateway)
	k.record(t, "bronze", bronzeGateway)
	for _, name := range []string{"api", "web"} {
		k.service(t, "amber", name)
		k.service(t, "bronze", name)
	}
	k.service(t, "bronze", "solo")
	k.now = k.now.Add(time.Hour)
	return k
}

// incident asks for what is around the latest message.
func (k *kept) incident(t *testing.T, around string) Incident {
	t.Helper()
	i, err := FindIncident(t.Context(), k, around, 10*time.Minute, k.now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A cluster that went down, a drain or a change of gateways changed the answers of every
// service, and the report said that none was touched.
func TestIncidentTellsServicesThatACauseElsewhereTouched(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(*kept)
		want    map[string]string // what is answered then, by service
	}{
		"down":           {func(k *kept) { k.state(t, "bronze", registry.Down) }, map[string]string{"api": amberGateway, "web": amberGateway}},
		"drain":          {func(k *kept) { k.order(t, registry.Order{Kind: registry.OrderDrain, Target: "bronze"}) }, map[string]string{"api": amberGateway, "web": amberGateway}},
		"drain of one":   {func(k *kept) { k.order(t, registry.Order{Kind: registry.OrderDrain, Target: "web.default.bronze"}) }, map[string]string{"web": amberGateway}},
		"forced drain":   {func(k *kept) { k.order(t, registry.Order{Kind: registry.OrderDrain, Target: "bronze", Force: true}) }, map[string]string{"api": amberGateway, "web": amberGateway, "solo": "known, without an address"}},
		"leave":          {func(k *kept) { k.order(t, registry.Order{Kind: registry.OrderLeave, Target: "bronze"}) }, map[string]string{"api": amberGateway, "web": amberGateway, "solo": "known, without an address"}},
		"gone":           {func(k *kept) { k.state(t, "bronze", registry.Gone) }, map[string]string{"api": amberGateway, "web": amberGateway, "solo": "NXDOMAIN"}},
		"gateways":       {func(k *kept) { k.record(t, "bronze", "2001:db8::2") }, map[string]string{"api": amberGateway + ", 2001:db8::2", "web": amberGateway + ", 2001:db8::2", "solo": "2001:db8::2"}},
		"nothing at all": {func(k *kept) { k.state(t, "bronze", registry.Up) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := twoClusters(t)
			test.happens(k)
			i := k.incident(t, "#"+strconv.Itoa(len(k.all)))
			have := map[string]string{}
			for _, touched := range i.Touched {
				have[touched.Service.Name] = strings.Join(touched.After, ", ")
				if len(touched.Answers) != 1 || touched.Answers[0].At != (Moment{uint64(len(k.all)), k.now}) || touched.Turns != 1 {
					t.Errorf("%s turns %v, want once, with the last message", touched.Service, touched.Answers)
				}
			}
			if fmt.Sprint(have) != fmt.Sprint(test.want) || i.Services != len(test.want) || i.Turned != len(test.want) {
				t.Errorf("touched are %v (%d, %d), want %v", have, i.Services, i.Turned, test.want)
			}
			if page := i.Markdown(); strings.Contains(page, "No service was touched") != (len(test.want) == 0) || len(test.want) > 0 && !strings.Contains(page, "| default/web |") {
				t.Errorf("the report is\n%s", page)
			}
		})
	}
}

// The zone's policy alone may take a service out of the answers.
func TestIncidentTellsServicesThatTheZoneTouched(t *testing.T) {
	t.Parallel()
	k := twoClusters(t)
	k.state(t, "bronze", registry.Stale)
	k.now = k.now.Add(time.Hour)
	k.zone(t, "default/solo")
	i := k.incident(t, "#"+strconv.Itoa(len(k.all)))
	if len(i.Touched) != 1 || i.Touched[0].Service.Name != "solo" || fmt.Sprint(i.Touched[0].Before, i.Touched[0].After) != "[192.0.2.2] [known, without an address]" {
		t.Errorf("touched are %+v", i.Touched)
	}
}

// In a flood the report showed its beginning, and not the moment that it was asked about.
func TestIncidentShowsWhatIsNearestToTheMoment(t *testing.T) {
	t.Parallel()
	k := twoClusters(t)
	note := func(count int) {
		for range count {
			k.put(t, registry.Event{Kind: registry.KindNote, Writer: "amber", Note: &registry.Note{Kind: "flood", Text: "a note"}})
			k.now = k.now.Add(-990 * time.Millisecond) // a hundred in each second
		}
	}
	note(2 * incidentEntries)
	k.state(t, "bronze", registry.Down)
	asked := len(k.all)
	note(2 * incidentEntries)
	i := k.incident(t, "#"+strconv.Itoa(asked))
	first, last := i.Entries[0].Sequence, i.Entries[len(i.Entries)-1].Sequence
	if len(i.Entries) != incidentEntries || first > uint64(asked)-800 || last < uint64(asked)+800 || int(last-first) != incidentEntries-1 {
		t.Errorf("#%d to #%d are shown, want %d around #%d", first, last, incidentEntries, asked)
	}
	if i.Counts[audit.Note] != 4*incidentEntries || i.Counts[audit.State] != 1 || i.More != 3*incidentEntries+1 {
		t.Errorf("counted are %v, %d are left out", i.Counts, i.More)
	}
}

// Beyond forty moments of a service the last turn was dated to the end of the window.
func TestIncidentCountsEveryTurn(t *testing.T) {
	t.Parallel()
	k := twoClusters(t)
	for n := range 99 {
		k.order(t, registry.Order{Kind: registry.OrderDrain, Target: "bronze", Lifted: n%2 == 1})
	}
	last := len(k.all)
	k.put(t, registry.Event{Kind: registry.KindNote, Writer: "amber", Note: &registry.Note{Kind: "later", Text: "a note"}})
	i := k.incident(t, "#"+strconv.Itoa(last))
	for _, touched := range i.Touched {
		turns := touched.Answers
		if touched.Turns != 99 || len(turns) != incidentTurns || turns[len(turns)-1].At.Sequence != uint64(last) || fmt.Sprint(touched.After) != "["+amberGateway+"]" {
			t.Errorf("%s turns %d times, the last told is %+v, in the end %v", touched.Service, touched.Turns, turns[len(turns)-1], touched.After)
		}
	}
	if page := i.Markdown(); len(i.Touched) != 2 || !strings.Contains(page, "the nearest of 99 turns; at the end: "+amberGateway) {
		t.Errorf("%d services are touched:\n%s", len(i.Touched), page)
	}
}
