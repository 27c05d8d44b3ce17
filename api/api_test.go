package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/registry"
)

var update = flag.Bool("update", false, "write the golden answers anew")

// history folds events into Views; each event is one message.
type history struct {
	fold     *registry.Fold
	sequence uint64
	revision map[registry.Writer]uint64
}

func newHistory() *history {
	return &history{fold: registry.NewFold(), revision: map[registry.Writer]uint64{}}
}

func (h *history) publish(e registry.Event) {
	h.sequence++
	e.Schema, e.ID, e.Time = registry.Schema, fmt.Sprint(h.sequence), h.now()
	if e.Writer != registry.Operator {
		h.revision[e.Writer]++
		e.Epoch, e.Revision = 1767323000, h.revision[e.Writer]
	}
	m := registry.NewMessage(e.Fact(), h.sequence, e.Time, e.Epoch, e.Revision, &e, nil)
	if out := h.fold.Apply(m); out.Result == registry.Quarantined {
		panic(fmt.Sprintf("event %d: %v", h.sequence, m.Refused))
	}
}

func (h *history) now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, int(h.sequence), 500_000_000, time.FixedZone("east", 3600))
}

func (h *history) service(cluster registry.Writer, namespace, name string, instances ...registry.Instance) {
	key, err := registry.ParseServiceKey(namespace, name)
	if err != nil {
		panic(err)
	}
	state := registry.NewServiceState(key, &registry.Service{Key: key, Instances: instances})
	state.Changed = registry.Stamp{Epoch: 1, Revision: 1, Time: h.now()}
	h.publish(registry.Event{Kind: registry.KindService, Writer: cluster, Service: &state})
}

// harbours is the registry that the golden answers show.
func harbours() *history {
	h := newHistory()
	h.publish(registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
	}})
	for _, w := range []registry.Writer{"bronze", "amber", "cobalt"} {
		h.publish(registry.Event{Kind: registry.KindEpoch, Writer: w, Takeover: &registry.EpochRecord{}})
	}
	h.publish(registry.Event{Kind: registry.KindCluster, Writer: "amber", Cluster: &registry.ClusterRecord{
		Cluster: "amber", Source: "consul", Region: "eu", Zone: "eu-1", Labels: map[string]string{"tier": "prod"},
		Gateways: []registry.Gateway{
			{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")}, Ports: map[string]int{"https": 8443, "http": 8080}, Weight: 1},
			{Name: "gw-2", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.11")}},
		},
	}})
	web := registry.Instance{ID: "web-1", Address: "10.0.0.1", Port: 8000, Weight: 1, Health: registry.Passing, Version: "1.3.0", Meta: map[string]string{"<rack>": "a&b"}}
	second := registry.Instance{ID: "web-2", Address: "web.example", Port: 8001, Weight: 0, Health: registry.Warning, Version: "1.2.0"}
	third := registry.Instance{ID: "web-3", Address: "10.0.0.3", Port: 8000, Weight: 1, Health: registry.Critical, Version: "1.3.0"}
	h.service("amber", "shop", "web", web, second, third)
	h.service("bronze", "shop", "web", registry.Instance{ID: "web-1", Address: "10.1.0.1", Weight: 1, Health: registry.Passing})
	h.publish(registry.Event{Kind: registry.KindCluster, Writer: "cobalt", Cluster: &registry.ClusterRecord{
		Cluster: "cobalt", Gateways: []registry.Gateway{{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.30")}, Ports: map[string]int{"http": 80}, Weight: 1}},
	}})
	h.service("cobalt", "shop", "web", web)
	h.service("bronze", "shop", "cart")
	h.service("amber", "", "a/b:c", web)
	h.publish(registry.Event{Kind: registry.KindSnapshot, Writer: "amber", Snapshot: &registry.SnapshotMark{Keys: 2}})
	h.publish(registry.Event{Kind: registry.KindEpoch, Writer: registry.Observer, Takeover: &registry.EpochRecord{}})
	h.publish(registry.Event{Kind: registry.KindState, Writer: registry.Observer, State: &registry.StateRecord{
		Cluster: "amber", State: registry.Stale, Since: h.now(), Reason: "its agent is silent, but its gateways are reached", Failing: []string{"gw-2"},
		Evidence: &registry.Evidence{Phase: registry.PhaseSynced, LeaseAge: 10.5, Epoch: 1767323000, Revision: 5, Votes: []registry.Vote{{Vantage: "_dns-1", Reached: 1, Failed: 1}}},
	}})
	h.publish(registry.Event{Kind: registry.KindEpoch, Writer: "delta", Takeover: &registry.EpochRecord{}})
	h.publish(registry.Event{Kind: registry.KindState, Writer: registry.Observer, State: &registry.StateRecord{
		Cluster: "delta", State: registry.Gone, Since: h.now(), Reason: "its agent is silent for half of the history's age: it counts as never heard of",
	}})
	h.publish(registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{Kind: registry.OrderDrain, Target: "amber", By: "mia", Reason: "kernel update", For: 1800, Failback: 60}})
	h.publish(registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{Kind: registry.OrderDrain, Target: "web.shop.amber", By: "mia", Reason: "bad release", Force: true}})
	h.publish(registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{Kind: registry.OrderLeave, Target: "cobalt", By: "mia", Reason: "moved"}})
	key, _ := registry.ParseServiceKey("shop", "old")
	forgotten := registry.NewServiceState(key, nil)
	forgotten.Forgotten = true
	h.publish(registry.Event{Kind: registry.KindService, Writer: "amber", Service: &forgotten})
	return h
}

func (h *history) synced() *registry.View {
	h.fold.Synced()
	return h.fold.View()
}

// leases is what agents say of themselves.
type leases map[registry.ClusterID]registry.Lease

func (l leases) Lease(id registry.ClusterID) (registry.Lease, time.Duration, bool) {
	lease, ok := l[id]
	return lease, 1500 * time.Millisecond, ok
}

func store(v *registry.View) *registry.Store {
	var s registry.Store
	s.Publish(v)
	return &s
}

// observed is who decides of the clusters.
func observed() api.Observer {
	return api.Observer{Leading: true, Holder: "global-dns@one/7", Epoch: 1767323000, Revision: 3}
}

// resolve stands for DNS.
func resolve(v *registry.View, name, qtype string) (api.Resolution, error) {
	if qtype == "NONSENSE" {
		return api.Resolution{}, errors.New(`"NONSENSE" is no record type`)
	}
	return api.Resolution{
		RCode: "NOERROR", Answers: []string{fmt.Sprintf("%s 5 IN %s 203.0.113.10", name, qtype)},
		Why: []api.Why{{Cluster: "amber", In: true, Reason: "serving"}, {Cluster: "bronze", Reason: "the cluster has no gateway"}},
	}, nil
}

func serve(t *testing.T, v *registry.View) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(api.New(api.Config{
		Views:    store(v),
		Leases:   leases{"amber": {Phase: registry.PhaseSynced, Source: "consul"}},
		Observer: observed, Resolve: resolve, Version: "1.2.3", Zone: "seed.internal.",
		Checkpoint: func() (api.Checkpoint, bool) {
			return api.Checkpoint{Age: 2500 * time.Millisecond, Sequence: 18}, v.Synced() && v.Zone() != nil
		},
		Archive: func() (api.Archive, bool) {
			if v.Zone() == nil {
				return api.Archive{Error: "the disk is full"}, v.Synced() // nothing is in it yet
			}
			oldest := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			return api.Archive{Sequence: 19, Oldest: oldest, Latest: oldest.Add(time.Hour), Behind: 1, Bytes: 4096, Gaps: 2}, v.Synced()
		},
	}))
	t.Cleanup(server.Close)
	return server
}

func ask(t *testing.T, server *httptest.Server, method, path string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// TestGolden holds each answer to the file that documents its shape.
func TestGolden(t *testing.T) {
	synced, empty, unsynced := serve(t, harbours().synced()), serve(t, newHistory().synced()), serve(t, harbours().fold.View())
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	cut := serve(t, harbours().synced().CutOff(registry.Cut{Since: since, Reason: "the stream was lost"}))
	anew := registry.Inherit(harbours().synced()) // another stream is there, and nobody has said anything on it
	anew.Synced()
	inherited := serve(t, anew.View())
	for file, tt := range map[string]struct {
		server *httptest.Server
		path   string
		status int
	}{
		"status":              {synced, "/v1/status", 200},
		"status_empty":        {empty, "/v1/status", 200},
		"status_unsynced":     {unsynced, "/v1/status", 200},
		"status_cut_off":      {cut, "/v1/status", 200},
		"clusters_inherited":  {inherited, "/v1/clusters", 200},
		"clusters":            {synced, "/v1/clusters", 200},
		"clusters_empty":      {empty, "/v1/clusters", 200},
		"clusters_unsynced":   {unsynced, "/v1/clusters", 503},
		"services":            {synced, "/v1/services", 200},
		"services_empty":      {empty, "/v1/services", 200},
		"services_unsynced":   {unsynced, "/v1/services", 503},
		"services_namespace":  {synced, "/v1/services?namespace=default", 200},
		"services_name":       {synced, "/v1/services?name=web&namespace=shop", 200},
		"services_cluster":    {synced, "/v1/services?cluster=bronze", 200},
		"services_none":       {synced, "/v1/services?cluster=nobody", 200},
		"services_parameter":  {synced, "/v1/services?clutser=amber", 400},
		"services_twice":      {synced, "/v1/services?cluster=amber&cluster=bronze", 400},
		"service":             {synced, "/v1/services/shop/web", 200},
		"service_tombstone":   {synced, "/v1/services/shop/cart", 200},
		"service_escaped":     {synced, "/v1/services/default/" + url.PathEscape("a/b:c"), 200},
		"service_never":       {synced, "/v1/services/shop/never", 404},
		"service_forgotten":   {synced, "/v1/services/shop/old", 404},
		"service_unsynced":    {unsynced, "/v1/services/shop/web", 503},
		"resolve":             {synced, "/v1/resolve?name=web.shop.svc.mesh.internal.&type=A", 200},
		"resolve_no_name":     {synced, "/v1/resolve", 400},
		"resolve_type":        {synced, "/v1/resolve?name=a&type=NONSENSE", 400},
		"resolve_query":       {synced, "/v1/resolve?name=%zz", 400},
		"path_unknown":        {synced, "/v1/nothing", 404},
		"path_root":           {synced, "/", 404},
		"path_trailing_slash": {synced, "/v1/status/", 404},
	} {
		t.Run(file, func(t *testing.T) {
			response, body := ask(t, tt.server, http.MethodGet, tt.path)
			if response.StatusCode != tt.status {
				t.Errorf("status %d, want %d", response.StatusCode, tt.status)
			}
			want := "application/json"
			if tt.status != 200 {
				want = "application/problem+json"
			}
			if got := response.Header.Get("Content-Type"); got != want {
				t.Errorf("content type %s, want %s", got, want)
			}
			if got := response.Header.Get("Retry-After"); (got != "") != (tt.status == 503) {
				t.Errorf("Retry-After %q with status %d", got, tt.status)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, body, "", "  "); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			golden(t, file, pretty.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// TestReadOnly: nothing but GET and HEAD, on any path.
func TestReadOnly(t *testing.T) {
	server := serve(t, harbours().synced())
	for _, path := range []string{"/v1/status", "/v1/clusters", "/v1/services", "/v1/services/shop/web", "/v1/resolve?name=a"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "NONSENSE"} {
			response, body := ask(t, server, method, path)
			var problem struct {
				Type, Title, Detail string
				Status              int
			}
			if err := json.Unmarshal(body, &problem); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != 405 || problem.Status != 405 || response.Header.Get("Allow") != "GET, HEAD" || response.Header.Get("Content-Type") != "application/problem+json" || problem.Type != "about:blank" || problem.Title != "Method Not Allowed" || problem.Detail == "" {
				t.Errorf("%s %s: %s, Allow %q, %s", method, path, response.Status, response.Header.Get("Allow"), body)
			}
		}
		response, body := ask(t, server, http.MethodHead, path)
		if response.StatusCode != 200 || len(body) != 0 || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD %s: %s, %d bytes", path, response.Status, len(body))
		}
	}
}

// TestHostilePaths: whatever a path holds, the answer is JSON and no redirect
// leads elsewhere.
func TestHostilePaths(t *testing.T) {
	handler := api.New(api.Config{Views: store(harbours().synced()), Leases: leases{}, Observer: observed, Resolve: resolve})
	for _, path := range []string{
		"/v1/services/shop/%00", "/v1/services/%2e%2e/%2e%2e", "/v1/services/shop/" + strings.Repeat("x", 10000), "/v1/services/a%2Fb/c%2Fd",
		"/v1/services/sh%C3%B6p/web", "/v1/services/shop/", "/v1/services/*/web", "/v1/services?namespace=" + strings.Repeat("%ff", 3000),
		"/v1/services?cluster=%00", "/v1/status?x=" + strings.Repeat("y", 5000),
	} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if code := recorder.Code; code != 200 && code != 400 && code != 404 {
			t.Errorf("%.60s: status %d", path, code)
		}
		if !json.Valid(recorder.Body.Bytes()) || recorder.Body.Len() > 2000 {
			t.Errorf("%.60s: %d bytes: %.200s", path, recorder.Body.Len(), recorder.Body)
		}
	}
}

// TestNamesOfARegistry: a name that a URL must escape is found.
func TestNamesOfARegistry(t *testing.T) {
	h := newHistory()
	for _, name := range []string{"a/b", "a%2Fb", "DEFAULT_GROUP@@web", "a?b", "a#b", "a//b/..", "xn--bcher-kva"} {
		h.service("amber", "team/one", name)
	}
	server := serve(t, h.synced())
	for _, name := range []string{"a/b", "a%2Fb", "DEFAULT_GROUP@@web", "a?b", "a#b", "a//b/..", "xn--bcher-kva"} {
		response, body := ask(t, server, http.MethodGet, "/v1/services/"+url.PathEscape("team/one")+"/"+url.PathEscape(name))
		var got struct{ Namespace, Name string }
		if err := json.Unmarshal(body, &got); err != nil || got.Name != name || got.Namespace != "team/one" {
			t.Errorf("%s: %s %s", name, response.Status, body)
		}
	}
}

// TestManyServices: a list larger than any buffer is whole and sorted.
func TestManyServices(t *testing.T) {
	h := newHistory()
	for n := range 5000 {
		h.service("amber", "shop", fmt.Sprintf("service-%04d", (n*7919)%5000), registry.Instance{ID: "a", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing})
	}
	_, body := ask(t, serve(t, h.synced()), http.MethodGet, "/v1/services")
	var got struct {
		Sequence uint64
		Services []struct{ Name string }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Sequence != 5000 || len(got.Services) != 5000 {
		t.Fatalf("sequence %d, %d services", got.Sequence, len(got.Services))
	}
	for n, s := range got.Services {
		if s.Name != fmt.Sprintf("service-%04d", n) {
			t.Fatalf("service %d is %s", n, s.Name)
		}
	}
}
