package doctor

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// ailment makes one thing wrong in a sound mesh.
type ailment struct {
	check string // category/name of the check that must say so
	want  Status
	says  string
	harm  func(*Facts)
}

// changed harms by another history.
func changed(change func(*history)) func(*Facts) {
	return func(f *Facts) {
		h := harbours()
		change(h)
		f.withView(h)
	}
}

// lease harms one lease.
func lease(w registry.Writer, change func(*Lease)) func(*Facts) {
	return func(f *Facts) {
		l := f.Signs.Leases[w]
		change(&l)
		f.Signs.Leases[w] = l
	}
}

// unreached makes a gateway fail from vantage points.
func unreached(cluster registry.ClusterID, gateway string, vantages ...string) func(*Facts) {
	return func(f *Facts) {
		for n, r := range f.Signs.Reports {
			for _, vantage := range vantages {
				if r.Cluster != cluster || r.Vantage != vantage {
					continue
				}
				for m := range r.Gateways {
					if g := &f.Signs.Reports[n].Gateways[m]; gateway == "" || g.Name == gateway {
						g.Reached, g.Error, g.Latency = false, "connection refused", nil
					}
				}
			}
		}
	}
}

func soa(change func(*Answer)) func(*Facts) {
	return func(f *Facts) {
		for _, protocol := range []string{"udp", "tcp"} {
			a := f.DNS[1].SOA[protocol]
			change(&a)
			f.DNS[1].SOA[protocol] = a
		}
	}
}

var errAway = errors.New("connection refused")

var ailments = map[string]ailment{
	"no NATS":              {"nats/reachable", Critical, "refused", func(f *Facts) { f.NATS.Err = errAway }},
	"an old server":        {"nats/reachable", Critical, "2.11.4", func(f *Facts) { f.NATS.Version = "2.11.4" }},
	"a slow server":        {"nats/reachable", Warning, "900ms", func(f *Facts) { f.NATS.RoundTrip = 900 * time.Millisecond }},
	"no JetStream":         {"nats/jetstream", Critical, "off", func(f *Facts) { f.Account = Account{NoJetStream: true} }},
	"nothing of JetStream": {"nats/jetstream", Unknown, "timeout", func(f *Facts) { f.Account.Err, f.Streams.Err = errors.New("timeout"), errAway }},
	"no stream":            {"nats/streams", Critical, "MESH_EVENTS is missing", func(f *Facts) { f.Streams.Missing, f.Streams.Events = []string{"MESH_EVENTS"}, Stream{} }},
	"streams silent":       {"nats/streams", Critical, "do not answer", func(f *Facts) { f.Streams.Err = errAway }},
	"streams denied":       {"nats/streams", Unknown, "can't be looked at", func(f *Facts) { f.Streams.Err, f.Streams.Denied = errAway, true }},
	"a stream differs": {"nats/streams", Warning, "max_msgs is 5", func(f *Facts) {
		f.Streams.Differences = []stream.Difference{{Stream: "MESH_EVENTS", Field: "max_msgs", Have: "5", Want: "-1"}}
	}},
	"streams not as told": {"nats/streams", Warning, "streams.history_age is 240h0m0s in global-dns.yaml", func(f *Facts) {
		f.Configs[0].Streams = &stream.Settings{Replicas: 3, HistoryAge: 240 * time.Hour, HistoryBytes: 10 << 30}
	}},
	"a replica offline": {"nats/replicas", Warning, "n2 is offline", func(f *Facts) {
		f.Streams.Events.Peers = []Peer{{Name: "n2", Offline: true}, {Name: "n3", Current: true}}
	}},
	"a replica behind": {"nats/replicas", Warning, "5000 messages behind", func(f *Facts) {
		f.Streams.Events.Peers = []Peer{{Name: "n2", Current: true, Lag: 5000}, {Name: "n3", Current: true}}
	}},
	"no leader": {"nats/replicas", Critical, "no leader", func(f *Facts) { f.Streams.Lease.Leader = "" }},
	"no majority": {"nats/replicas", Critical, "1 of 3", func(f *Facts) {
		f.Streams.Events.Peers = []Peer{{Name: "n2", Offline: true}, {Name: "n3", Offline: true}}
	}},
	"a replica too few": {"nats/replicas", Warning, "2 are known", func(f *Facts) { f.Streams.Events.Peers = []Peer{{Name: "n2", Current: true}} }},
	"two replicas": {"nats/replicas", Warning, "2 replicas", func(f *Facts) {
		f.Streams.Events.Replicas, f.Streams.Events.Peers = 2, []Peer{{Name: "n2", Current: true}}
	}},
	"a day of history":       {"nats/history", Critical, "age out", func(f *Facts) { f.Streams.Events.MaxAge = 24 * time.Hour }},
	"no limit":               {"nats/history", Warning, "for ever", func(f *Facts) { f.Streams.Events.MaxAge, f.Streams.Events.MaxBytes = 0, -1 }},
	"bytes for two days":     {"nats/history", Critical, "hold only 2 days", func(f *Facts) { f.Streams.Events.MaxBytes = 1 << 20 }},
	"bytes for ten days":     {"nats/history", Warning, "is met in 8 days", func(f *Facts) { f.Streams.Events.MaxBytes = 5 << 20 }},
	"full, and new":          {"nats/history", Warning, "93 %", func(f *Facts) { f.Streams.Events.Span, f.Streams.Events.MaxBytes = time.Second, 1100<<10 }},
	"an account nearly full": {"nats/storage", Critical, "98 %", func(f *Facts) { f.Account.Bytes, f.Account.MostBytes = 98, 100 }},
	"full tomorrow":          {"nats/storage", Critical, "is met in", func(f *Facts) { f.Account.Bytes, f.Account.MostBytes = 1<<20, 2<<20 }},
	"full next week":         {"nats/storage", Warning, "is met in", func(f *Facts) { f.Account.Bytes, f.Account.MostBytes = 1<<20, 10<<20 }},
	"storage unknown":        {"nats/storage", Unknown, "timeout", func(f *Facts) { f.Account.Err = errors.New("timeout") }},
	"few consumers left":     {"nats/storage", Warning, "90 of the 100", func(f *Facts) { f.Account.Consumers, f.Account.MostConsumer = 90, 100 }},
	"rights unknown":         {"nats/permissions", Unknown, "timeout", func(f *Facts) { f.Rights.Err = errors.New("timeout") }},
	"no orders":              {"nats/permissions", Warning, "may not give orders", func(f *Facts) { f.Rights.PublishAllow = []string{"$JS.API.>", "mesh.v1._operator.zone"} }},
	"denied":                 {"nats/permissions", Warning, "change the zone", func(f *Facts) { f.Rights.PublishDeny = []string{"mesh.v1._operator.zone"} }},
	"rights of clusters":     {"nats/permissions", Warning, "names of clusters", func(f *Facts) { f.Rights.PublishAllow = []string{"mesh.>", "$JS.API.>"} }},

	"an agent silent":      {"clusters/agents", Critical, "amber: the agent (edge-sync@amber/1) is silent for 40s", lease("amber", func(l *Lease) { l.Stored = now.Add(-40 * time.Second) })},
	"no agent":             {"clusters/agents", Critical, "amber: no agent", func(f *Facts) { delete(f.Signs.Leases, "amber") }},
	"an agent stopped":     {"clusters/agents", Critical, "stopped 1m0s ago", lease("amber", func(l *Lease) { l.Stored, l.Lease.Phase = now.Add(-time.Minute), registry.PhaseStopped })},
	"syncing for hours":    {"clusters/agents", Warning, "not published everything", lease("amber", func(l *Lease) { l.Lease.Phase = registry.PhaseSyncing })},
	"left, and publishing": {"clusters/agents", Warning, "amber has left", changed(func(h *history) { h.order(registry.Order{Kind: registry.OrderLeave, Target: "amber", By: "mia"}) })},
	"no cluster":           {"clusters/agents", Warning, "no cluster is known", func(f *Facts) { f.withView(newHistory()) }},
	"a registry down":      {"clusters/registries", Critical, "403", lease("bronze", func(l *Lease) { l.Lease.Phase, l.Lease.Detail = registry.PhaseRegistryDown, "catalog: 403" })},
	"a fight":              {"clusters/takeovers", Critical, "5 times in 15m0s: one, two", fight(now.Add(-10 * time.Minute))},
	"restlessness":         {"clusters/takeovers", Warning, "5 takeovers in an hour", fight(now.Add(-40 * time.Minute))},
	"no standby":           {"clusters/standbys", Warning, "none stands by", func(f *Facts) { f.Agents = f.Agents[:1] }},
	"two leaders":          {"clusters/standbys", Critical, "2 agents say", func(f *Facts) { f.Agents[1].Role = "leader" }},
	"no leader among them": {"clusters/standbys", Warning, "none leads", func(f *Facts) { f.Agents = f.Agents[1:] }},
	"an agent mute":        {"clusters/standbys", Unknown, "refused", func(f *Facts) { f.Agents = append(f.Agents, Agent{URL: "http://c:8081", Err: errAway}) }},
	"another content":      {"clusters/content", Critical, "than its agent says", lease("amber", func(l *Lease) { l.Lease.Digest[0]++ })},
	"a reader's content": {"clusters/content", Critical, "bronze: http://two:8080 has another content", func(f *Facts) {
		c := f.Readers[1].Digests["bronze"]
		c.Digest[3]++
		f.Readers[1].Digests = map[registry.ClusterID]Content{"bronze": c}
	}},
	"unusable": {"clusters/unusable", Warning, "1 fact can't be used", changed(func(h *history) {
		h.revision["amber"]++
		h.sequence++
		h.fold.Apply(registry.NewMessage(registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: "checkout"}},
			h.sequence, h.stored, h.epochs["amber"], h.revision["amber"], nil, nil))
	})},
	"inherited": {"clusters/inherited", Warning, "http://one:8080 knows these only from before the stream was lost, for their agents have not published since: cobalt", func(f *Facts) {
		f.Readers[0].Digests = map[registry.ClusterID]Content{"cobalt": {Epoch: 1, Revision: 1}}
	}},
	"unreachable":       {"clusters/state", Critical, "amber: unreachable", changed(func(h *history) { h.state("amber", registry.Unreachable, "its gateways are not reached", "gw-1") })},
	"down":              {"clusters/state", Critical, "amber: down", changed(func(h *history) { h.state("amber", registry.Down, "nothing is heard of it") })},
	"stale":             {"clusters/state", Warning, "amber: stale", changed(func(h *history) { h.state("amber", registry.Stale, "its agent is silent") })},
	"a gateway failing": {"clusters/state", Warning, "gw-2", changed(func(h *history) { h.state("bronze", registry.Up, "it is up", "gw-2") })},
	"gone":              {"clusters/state", Warning, "bronze counts as never heard of", changed(func(h *history) { h.state("bronze", registry.Gone, "silent for two weeks") })},
	"a brake undecided": {"clusters/brakes", Warning, "it passes at 2026-03-04 13:00:00", brake(registry.BrakeHeld)},
	"a brake rejected":  {"clusters/brakes", Warning, "rejected by mia", brake(registry.BrakeRejected)},
	"a brake from later": {"clusters/brakes", Unknown, "can't be read", func(f *Facts) {
		f.View.Notes = []Note{{Writer: "amber", Note: registry.Note{Kind: registry.NoteBrake}}}
	}},
	"a drain for ever":       {"clusters/orders", Warning, "has no end", func(f *Facts) { drained(f, registry.Order{}); f.Streams.Now = now.Add(25 * time.Hour); fresh(f) }},
	"a drain beyond its end": {"clusters/orders", Warning, "should have ended", func(f *Facts) { drained(f, registry.Order{For: 60}) }},

	"a reader away":        {"readers/ready", Critical, "refused", func(f *Facts) { f.Readers[0].Err = errAway }},
	"not ready":            {"readers/ready", Critical, "the registry is not synced yet", func(f *Facts) { f.Readers[0].Ready, f.Readers[0].Said = false, "the registry is not synced yet" }},
	"two versions":         {"readers/ready", Warning, "different versions", func(f *Facts) { f.Readers[0].Status.Version = "1.2.2" }},
	"a reader behind":      {"readers/lag", Critical, "3 messages behind", func(f *Facts) { f.Readers[0].Sequence -= 3 }},
	"a stream cut short":   {"readers/lag", Critical, "it has lost what was stored last", func(f *Facts) { f.Streams.Events.Last, f.Streams.After = 3, 3 }},
	"serials":              {"readers/serials", Warning, "different serials", func(f *Facts) { f.Readers[0].Sequence -= 3 }},
	"serials without NATS": {"readers/serials", Warning, "different serials", func(f *Facts) { f.NATS.Err = errAway; f.Readers[0].Sequence -= 3 }},
	"two zones":            {"readers/serials", Critical, "different zones", func(f *Facts) { f.Readers[0].Status.Zone = "other." }},
	"cut off":              {"readers/cut-off", Warning, "cut off for 40s", soa(func(a *Answer) { a.Extended = []string{"3 (Stale Answer): cut off for 40s"} })},
	"a reader cut off": {"readers/cut-off", Warning, "http://one:8080: ready, and stale for 9s", func(f *Facts) {
		f.Readers[0].Metrics[viewCutOff], f.Readers[0].Said = 1, "ready, and stale for 9s: no word from NATS"
	}},
	"an old checkpoint": {"readers/checkpoint", Warning, "1h0m0s ago", func(f *Facts) { f.Readers[1].Metrics[checkpointAge] = 3600 }},
	"no checkpoint": {"readers/checkpoint", Warning, "can write no checkpoint: restarted while NATS is away, it would know nothing", func(f *Facts) {
		f.Readers[1].Metrics = map[string]float64{checkpointFailing: 1, viewCutOff: 0}
	}},
	"none since a minute": {"readers/checkpoint", Warning, "it would answer what it knew 1m0s ago", func(f *Facts) {
		f.Readers[1].Metrics = map[string]float64{checkpointFailing: 1, checkpointAge: 60, viewCutOff: 0}
	}},
	"no checkpoint and no NATS": {"readers/checkpoint", Critical, "is cut off from the stream", func(f *Facts) {
		f.Readers[1].Metrics = map[string]float64{checkpointFailing: 1, checkpointAge: 60, viewCutOff: 1}
	}},
	"no observer":       {"readers/observer", Warning, "nobody is the observer since 40s", lease(registry.Observer, func(l *Lease) { l.Stored = now.Add(-40 * time.Second) })},
	"never an observer": {"readers/observer", Warning, "ever heard of", func(f *Facts) { delete(f.Signs.Leases, registry.Observer) }},
	"two observers":     {"readers/observer", Warning, "2 replicas say", func(f *Facts) { f.Readers[1].Status.Observer.Leading = true }},
	"a suspecting one":  {"readers/observer", Critical, "suspects itself", func(f *Facts) { f.Readers[0].Status.Observer.Suspects = true }},
	"a blind one":       {"readers/observer", Warning, "can't judge: too few reports", func(f *Facts) { f.Readers[0].Status.Observer.Blind = "too few reports" }},
	"an alarm": {"readers/alarms", Warning, "5m0s ago: much is withdrawn", func(f *Facts) {
		f.View.Notes = []Note{{Writer: registry.Observer, Note: registry.Note{Kind: "alarm", Text: "much is withdrawn"}, Stored: now.Add(-5 * time.Minute)}}
	}},

	"no DNS":             {"dns/answers", Critical, "refused", soa(func(a *Answer) { a.Err = errAway })},
	"DNS not ready":      {"dns/answers", Critical, "SERVFAIL", soa(func(a *Answer) { a.RCode, a.Data = "SERVFAIL", nil })},
	"slow DNS":           {"dns/answers", Warning, "2s", soa(func(a *Answer) { a.Took = 2 * time.Second })},
	"an old serial":      {"dns/serial", Critical, "the stream stood at", soa(func(a *Answer) { a.Serial -= 2 })},
	"a serial ahead":     {"dns/serial", Critical, "has not reached", soa(func(a *Answer) { a.Serial += 2 })},
	"no address":         {"dns/service", Critical, "no address", func(f *Facts) { f.DNS[0].Service.Data = nil }},
	"a strange address":  {"dns/service", Critical, "198.51.100.9", func(f *Facts) { f.DNS[0].Service.Data = []string{"203.0.113.1", "198.51.100.9"} }},
	"no service":         {"dns/service", Critical, "refused", func(f *Facts) { f.DNS[0].Service.Err = errAway }},
	"a zone for all":     {"dns/transfers", Critical, "gives the whole zone", func(f *Facts) { f.DNS[0].Transfer = "allowed" }},
	"no transfer":        {"dns/transfers", Warning, "refuses", func(f *Facts) { f.Transfers = "allowed" }},
	"transfer not known": {"dns/transfers", Unknown, "refused", func(f *Facts) { f.DNS[0].TransferErr = errAway }},

	"no gateway":          {"gateways/declared", Critical, "cobalt has no gateway", changed(func(h *history) { h.cluster("cobalt") })},
	"nobody reaches it":   {"gateways/reached", Critical, "amber/gw-1 is not reached (2 of 2 vantage points): _dns-one: connection refused; _dns-two: connection refused; its own agent reaches it", unreached("amber", "", "_dns-one", "_dns-two")},
	"one of two gateways": {"gateways/reached", Warning, "bronze/gw-2 is not reached", unreached("bronze", "gw-2", "_dns-one", "_dns-two")},
	"from one place":      {"gateways/reached", Warning, "from 1 of 2 vantage points", unreached("amber", "", "_dns-one")},
	"never probed":        {"gateways/reached", Warning, "amber/gw-1, bronze/gw-1, bronze/gw-2", func(f *Facts) { f.Signs.Reports = nil }},
	"reports too old":     {"gateways/reached", Warning, "nobody but their own", func(f *Facts) { f.Streams.Now = now.Add(time.Minute); fresh(f) }},
	"a long way":          {"gateways/latency", Warning, "up to 900 ms", func(f *Facts) { f.Signs.Reports[0].Gateways[0].Latency.P99 = 900 }},
	"credentials expired": {"credentials/credentials", Critical, "has expired", func(f *Facts) { f.Credentials.Expires = now.Add(-time.Hour) }},
	"expire in six days":  {"credentials/credentials", Critical, "in 6 days", func(f *Facts) { f.Credentials.Expires = now.Add(6 * 24 * time.Hour) }},
	"expire in 20 days":   {"credentials/credentials", Warning, "in 20 days", func(f *Facts) { f.Credentials.Expires = now.Add(20 * 24 * time.Hour) }},
	"no such credentials": {"credentials/credentials", Critical, "refused", func(f *Facts) { f.Credentials.Err = errAway }},
	"told to end":         {"credentials/credentials", Warning, "in 20 days", func(f *Facts) { f.Credentials, f.Rights.Expires = File{}, 20*24*time.Hour }},
	"a daemon's, in 20 days": {"credentials/credentials", Warning, "amber.creds (user amber), of edge-sync.yaml expires in 20 days", func(f *Facts) {
		f.Configs[1].Credentials = File{Path: "amber.creds", User: "amber", Expires: now.Add(20 * 24 * time.Hour)}
	}},
	"a daemon's, elsewhere": {"credentials/credentials", Unknown, "no such file", func(f *Facts) {
		_, err := os.Open("nowhere.creds")
		f.Configs[1].Credentials = File{Path: "nowhere.creds", Err: err}
	}},
	"a daemon's certificate": {"credentials/certificates", Critical, "amber.pem (CN=amber), of edge-sync.yaml has expired", func(f *Facts) {
		f.Configs[1].Certificate = Certificate{Where: "amber.pem", Subject: "CN=amber", Until: now.Add(-time.Hour)}
	}},
	"a certificate ending": {"credentials/certificates", Warning, "CN=n1", func(f *Facts) { f.Certs[0].Until = now.Add(20 * 24 * time.Hour) }},
	"one that has ended":   {"credentials/certificates", Critical, "has expired", func(f *Facts) { f.Certs[0].Until = now.Add(-time.Hour) }},
	"one that is not seen": {"credentials/certificates", Unknown, "refused", func(f *Facts) { f.Certs[0].Err = errAway }},

	"this clock":            {"clocks/here", Critical, "80ms ahead", func(f *Facts) { f.NATS.Clock = Interval{79 * time.Millisecond, 81 * time.Millisecond} }},
	"this clock, a little":  {"clocks/here", Warning, "20ms behind", func(f *Facts) { f.NATS.Clock = Interval{-21 * time.Millisecond, -19 * time.Millisecond} }},
	"this clock, from afar": {"clocks/here", Unknown, "± 200ms", func(f *Facts) { f.NATS.Clock = Interval{-200 * time.Millisecond, 200 * time.Millisecond} }},
	"this clock, one-sided": {"clocks/here", Unknown, "± 110ms", func(f *Facts) { f.NATS.Clock = Interval{-200 * time.Millisecond, 20 * time.Millisecond} }},
	"no clock":              {"clocks/here", Unknown, "refused", func(f *Facts) { f.NATS.ClockErr = errAway }},
	"an agent's clock":      {"clocks/agents", Critical, "agent of amber", lease("amber", func(l *Lease) { l.Ahead = []time.Duration{70 * time.Millisecond, 71 * time.Millisecond} })},
	"one far behind":        {"clocks/agents", Critical, "behind", lease("amber", func(l *Lease) { l.Ahead = []time.Duration{-time.Minute} })},
	"one that stutters":     {"clocks/agents", Unknown, "±", lease("amber", func(l *Lease) { l.Ahead = []time.Duration{-90 * time.Millisecond, -300 * time.Millisecond} })},
	"a little ahead":        {"clocks/agents", Warning, "ahead", lease("amber", func(l *Lease) { l.Ahead = []time.Duration{19 * time.Millisecond, 20 * time.Millisecond} })},
	"a vantage point's": {"clocks/readers", Critical, "_dns-one", func(f *Facts) {
		for n, r := range f.Signs.Reports {
			if r.Vantage == "_dns-one" {
				f.Signs.Reports[n].Ahead = []time.Duration{time.Second}
			}
		}
	}},
	"the observer's": {"clocks/readers", Critical, "the observer", lease(registry.Observer, func(l *Lease) { l.Ahead = []time.Duration{time.Second} })},
	"a reader's":     {"clocks/readers", Critical, "http://one:8080", func(f *Facts) { f.Readers[0].Clock = Interval{time.Second, time.Second + 4*time.Millisecond} }},
	"a reader's, and not this machine's": {"clocks/readers", Critical, "http://two:8080", func(f *Facts) {
		f.NATS.Clock = Interval{time.Second, time.Second + time.Millisecond}
		f.Readers[0].Clock = Interval{time.Second, time.Second + time.Millisecond}
	}},
	"not seen": {"clocks/readers", Unknown, "refused", func(f *Facts) { f.Readers[0].ClockErr = errAway }},

	"a fault":        {"configuration/files", Critical, "unknown field", func(f *Facts) { f.Configs[1].Faults = []string{"edge-sync.yaml:3: gatways: unknown field"} }},
	"not checked":    {"configuration/files", Unknown, "refused", func(f *Facts) { f.Configs[1].Err = errAway }},
	"another zone":   {"configuration/zone", Warning, "global-dns.yaml", func(f *Facts) { f.Configs[0].Zone.TTL = 6 }},
	"no zone record": {"configuration/zone", Critical, "no zone record", func(f *Facts) { f.withView(newHistory()) }},
	"names meet":     {"configuration/names", Warning, "default/only-amber and default/only.amber", changed(func(h *history) { h.service("bronze", "only.amber") })},
	"ports that differ": {"configuration/ports", Warning, "gateway port http is 80 in amber, 80 in bronze, 8080 in cobalt; of default/checkout", changed(func(h *history) {
		h.cluster("cobalt", gateway("gw-1", "203.0.113.9", map[string]int{"http": 8080}))
		h.service("cobalt", "checkout")
	})},
}

// fresh makes what stands for now stand a while later, too.
func fresh(f *Facts) {
	for w, l := range f.Signs.Leases {
		l.Stored = f.Streams.Now
		f.Signs.Leases[w] = l
	}
}

// drained drains amber by an order that was stored two hours ago.
func drained(f *Facts, o registry.Order) {
	o.Kind, o.Target, o.By, o.Reason = registry.OrderDrain, "amber", "mia", "kernel update"
	changed(func(h *history) { h.order(o) })(f)
}

// fight lets two agents begin five epochs of amber.
func fight(at time.Time) func(*Facts) {
	return func(f *Facts) {
		h := harbours()
		h.stored = at
		for range 5 {
			h.publish(registry.Event{Kind: registry.KindEpoch, Writer: "amber", Takeover: &registry.EpochRecord{}})
		}
		f.withView(h)
		f.View.Epochs = map[registry.ClusterID][]Epoch{"amber": {{1, "two"}, {2, "one"}, {3, "two"}}}
	}
}

func brake(state registry.BrakeState) func(*Facts) {
	return func(f *Facts) {
		b := registry.Brake{ID: "b1", State: state, Services: 2, OfServices: 3, Instances: 20, OfInstances: 30, Since: now.Add(-time.Hour), Until: now.Add(time.Hour), By: "mia", Names: []string{"shop/a", "shop/b"}}
		f.View.Notes = []Note{{Writer: "amber", Note: b.Note("much was deregistered")}}
	}
}

func TestEveryAilmentIsFound(t *testing.T) {
	covered := map[string]bool{}
	for name, a := range ailments {
		covered[a.check] = true
		t.Run(name, func(t *testing.T) {
			f := sound()
			a.harm(f)
			r := Judge(f, nil)
			var said []Finding
			for _, finding := range r.Findings {
				if string(finding.Category)+"/"+finding.Check == a.check {
					said = append(said, finding)
				}
			}
			if worst(said) != a.want {
				t.Fatalf("%s says %+v, want %s", a.check, said, a.want)
			}
			found := false
			for _, finding := range said {
				found = found || finding.Status == a.want && strings.Contains(finding.Description, a.says)
				if (finding.Status == Warning || finding.Status == Critical) && finding.Fix == "" {
					t.Errorf("nothing is said about how to mend %q", finding.Description)
				}
			}
			if !found {
				t.Errorf("%s says %+v, without %q", a.check, said, a.says)
			}
			if r.Status.severity() < a.want.severity() {
				t.Errorf("the report is %s", r.Status)
			}
		})
	}
	for _, c := range checks() {
		if name := string(c.category) + "/" + c.name; !covered[name] {
			t.Errorf("nothing makes the check %s fail", name)
		}
	}
}

// TestWhatIsNotKnownIsNotHealthy takes the sources away, one after another.
func TestWhatIsNotKnownIsNotHealthy(t *testing.T) {
	for name, test := range map[string]struct {
		harm    func(*Facts)
		unknown []string // checks that then can't be told
	}{
		"NATS":    {func(f *Facts) { *f = Facts{NATS: Server{Err: errAway}} }, []string{"nats/storage", "clusters/agents", "clusters/brakes", "readers/lag", "dns/serial", "gateways/reached", "clocks/agents", "configuration/names"}},
		"streams": {func(f *Facts) { f.Streams.Err = errAway }, []string{"nats/replicas", "nats/history", "clusters/agents", "readers/lag", "dns/serial", "clocks/readers"}},
		"view":    {func(f *Facts) { f.View = View{Err: errAway} }, []string{"clusters/agents", "clusters/takeovers", "clusters/state", "gateways/declared", "dns/service", "configuration/zone"}},
		"signs":   {func(f *Facts) { f.Signs = Signs{Err: errAway} }, []string{"clusters/agents", "clusters/registries", "readers/observer", "gateways/reached", "clocks/agents"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := sound()
			test.harm(f)
			said := map[string]Status{}
			for _, finding := range Judge(f, nil).Findings {
				said[string(finding.Category)+"/"+finding.Check] = finding.Status
			}
			for _, check := range test.unknown {
				if said[check] != Unknown {
					t.Errorf("%s is %q", check, said[check])
				}
			}
		})
	}
}

// TestNoCheckpointIsTold: none is kept unless one is configured, which is no fault.
func TestNoCheckpointIsTold(t *testing.T) {
	f := sound()
	f.Readers[0].Metrics = map[string]float64{viewCutOff: 0}
	f.Readers[1].Metrics = map[string]float64{viewCutOff: 0, checkpointFailing: 0}
	found := judgeCheckpoint(f)
	if worst(found) != Healthy || len(found) != 2 {
		t.Fatalf("%+v", found)
	}
	if !strings.Contains(found[0].Description, "keeps no checkpoint") || !strings.Contains(found[0].Fix, "checkpoint.path") {
		t.Errorf("%+v", found[0])
	}
	if !strings.Contains(found[1].Description, "no checkpoint yet") {
		t.Errorf("%+v", found[1])
	}
}

func TestOnlyWhatIsAskedFor(t *testing.T) {
	f := sound()
	f.Agents, f.Configs, f.Transfers = nil, nil, ""
	if left := Judge(f, nil).NotAsked; len(left) != 3 {
		t.Errorf("left out are %q", left)
	}
	r := Judge(f, []Category{Clusters, Clocks})
	for _, finding := range r.Findings {
		if finding.Category != Clusters && finding.Category != Clocks {
			t.Errorf("%+v", finding)
		}
	}
	if len(r.NotAsked) != 1 || len(r.Findings) < 10 {
		t.Errorf("%+v", r)
	}
	if _, err := ParseCategory("weather"); err == nil {
		t.Error("weather is a category")
	}
}

func TestManyFaultsOfOneKindAreFew(t *testing.T) {
	h := newHistory()
	for n := range 50 {
		h.cluster(registry.ClusterID("c" + string(rune('a'+n/26)) + string(rune('a'+n%26))))
	}
	f := sound()
	f.withView(h)
	r := Judge(f, []Category{Gateways})
	if r.Count(Critical) != mostFindings || !strings.Contains(r.Findings[mostFindings-1].Description, "and 31 more") {
		t.Errorf("%d findings, the last %+v", r.Count(Critical), r.Findings[len(r.Findings)-1])
	}
}

func TestExitCodes(t *testing.T) {
	for status, code := range map[Status]int{Healthy: 0, Warning: 1, Unknown: 1, Critical: 2} {
		if status.ExitCode() != code {
			t.Errorf("%s exits with %d", status, status.ExitCode())
		}
	}
}
