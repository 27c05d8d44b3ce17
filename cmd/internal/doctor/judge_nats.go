package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds for what is stored.
const (
	refreshEvery   = 24 * time.Hour      // every fact is published again
	leastHistory   = 3 * refreshEvery    // less, and facts may age out between two refreshes
	soon           = 24 * time.Hour      // a limit is met
	foreseeable    = 14 * 24 * time.Hour // likewise
	leastSpan      = 5 * time.Minute     // to speak of a rate
	muchUsed       = 0.8
	nearlyAllUsed  = 0.95
	replicaLag     = 1000 // messages
	replicaSilent  = 10 * time.Second
	slowRoundTrip  = 500 * time.Millisecond
	minServerMajor = 2
	minServerMinor = 12
)

func judgeReachable(f *Facts) []Finding {
	n := f.NATS
	if n.Err != nil {
		return []Finding{critical("Is the server running, --nats (SEAMARK_NATS_URL) its address, and --credentials the operator's? Replicas go on answering with what they know; agents publish when it is back.", "%v", n.Err)}
	}
	if major, minor, ok := version(n.Version); ok && (major < minServerMajor || major == minServerMajor && minor < minServerMinor) {
		return []Finding{critical("Update the NATS server to 2.12 or later.", "the server at %s is of version %s, which has no atomic batches: agents can't publish much at once", n.URL, n.Version)}
	}
	if n.RoundTrip > slowRoundTrip {
		return []Finding{warning("Look at the way to the server, and at its load.", "%s answers in %v", n.URL, rounded(n.RoundTrip))}
	}
	return []Finding{healthy("%s, version %s, answers in %v", n.URL, n.Version, rounded(n.RoundTrip))}
}

// version reads the first two numbers of a version; ok is false when there are none.
func version(s string) (major, minor int, ok bool) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

// rightsFix is what to do about a right that is missing.
const rightsFix = "Give these credentials the rights that docs/operations.md lists for doctor."

func judgeJetStream(f *Facts) []Finding {
	switch {
	case f.Account.Err != nil && f.Streams.Err != nil:
		return []Finding{unknown(rightsFix, "can't be told: %v", f.Account.Err)}
	case f.Account.Err != nil:
		return []Finding{healthy("on, for the streams answer")}
	}
	if f.Account.NoJetStream {
		return []Finding{critical("Turn JetStream on in the server's configuration (jetstream { store_dir: … }), and for the account.", "JetStream is off, for the server or for this account")}
	}
	return []Finding{healthy("on, with %d streams and %d consumers in this account", f.Account.Streams, f.Account.Consumers)}
}

func judgeStreams(f *Facts) []Finding {
	if err := f.Streams.Err; err != nil && f.Streams.Denied {
		return []Finding{unknown(rightsFix, "the streams can't be looked at: %v", err)}
	} else if err != nil {
		return []Finding{critical("Do more than half of the servers that hold the streams run? nats stream info tells more.", "the streams do not answer, so nothing can be stored: %v", err)}
	}
	var found []Finding
	for _, name := range f.Streams.Missing {
		found = append(found, critical("Start a global-dns with streams.manage, or run seamark streams apply. Was the stream deleted? Agents publish all they have again.", "stream %s is missing", name))
	}
	for _, d := range f.Streams.Differences {
		found = append(found, warning("seamark streams check shows the difference, seamark streams apply mends it, with the flags that the configuration of global-dns has.", "%s", d))
	}
	for _, c := range f.Configs {
		if c.Streams == nil || len(f.Streams.Missing) > 0 {
			continue
		}
		have := f.Streams.Events
		for _, field := range []struct {
			name       string
			have, want any
		}{
			{"replicas", have.Replicas, max(c.Streams.Replicas, 1)},
			{"history_age", have.MaxAge, c.Streams.HistoryAge},
			{"history_bytes", max(have.MaxBytes, 0), c.Streams.HistoryBytes},
		} {
			if field.have != field.want {
				found = append(found, warning("Make the configuration say what is meant, or run seamark streams apply.", "streams.%s is %v in %s, and %v for stream %s", field.name, field.want, c.Path, field.have, have.Name))
			}
		}
	}
	if len(found) == 0 {
		found = append(found, healthy("%s and %s are as designed", f.Streams.Events.Name, f.Streams.Lease.Name))
	}
	return found
}

// existing returns the streams that are there.
func (s Streams) existing() []Stream {
	return slices.DeleteFunc([]Stream{s.Events, s.Lease}, func(s Stream) bool { return s.Name == "" })
}

func judgeReplicas(f *Facts) []Finding {
	var found []Finding
	for _, s := range f.Streams.existing() {
		inSync, lost := 0, 0
		for _, p := range s.Peers {
			switch {
			case p.Offline:
				lost++
				found = append(found, Finding{Status: Warning, Description: fmt.Sprintf("the replica of %s on %s is offline", s.Name, p.Name), Fix: "Start that server: until then the stream bears one loss less."})
			case !p.Current || p.Lag > replicaLag || p.Active > replicaSilent:
				lost++
				found = append(found, warning("Look at that server's disk and network, and at nats stream info.", "the replica of %s on %s is %d messages behind, heard of %v ago", s.Name, p.Name, p.Lag, rounded(p.Active)))
			default:
				inSync++
			}
		}
		const start = "Start the servers that are missing: a stream needs more than half of its replicas."
		switch {
		case s.Replicas > 1 && s.Leader == "":
			found = append(found, critical(start, "%s has no leader: nothing can be stored", s.Name))
		case s.Replicas > 1 && inSync+1 <= s.Replicas/2:
			found = append(found, critical(start, "%s has %d of %d replicas in sync: nothing can be stored, or nothing soon", s.Name, inSync+1, s.Replicas))
		case s.Replicas > 1 && s.Replicas-1-inSync-lost > 0:
			found = append(found, warning("Is the cluster large enough? Look at nats stream info.", "%s is to have %d replicas, and %d are known", s.Name, s.Replicas, len(s.Peers)+1))
		case s.Replicas%2 == 0:
			found = append(found, warning("Use 3 or 5: an even number bears no more losses than one less.", "%s has %d replicas", s.Name, s.Replicas))
		}
	}
	if len(found) == 0 {
		if f.Streams.Events.Replicas <= 1 {
			return []Finding{healthy("one replica of each stream, as configured: when that server is away, nothing new is known")}
		}
		found = append(found, healthy("%d replicas of each stream, all in sync", f.Streams.Events.Replicas))
	}
	return found
}

// perSecond returns how much is stored now, in bytes.
func (s Stream) perSecond() (rate float64, known bool) {
	if s.Span < leastSpan || s.Messages == 0 {
		return 0, false
	}
	return float64(s.Recent) * float64(s.Bytes) / float64(s.Messages) / s.Span.Seconds(), true
}

func judgeHistory(f *Facts) []Finding {
	s := f.Streams.Events
	if s.Name == "" {
		return nil // its absence is said elsewhere
	}
	if s.MaxAge > 0 && s.MaxAge < leastHistory {
		return []Finding{critical("Raise streams.history_age, and run seamark streams apply.", "%s keeps %v, and facts are published again once a day: they can age out while they hold", s.Name, s.MaxAge)}
	}
	keeps := fmt.Sprintf("%s of history since %s", size(s.Bytes), s.FirstTime.UTC().Format("2006-01-02 15:04"))
	if s.Messages == 0 {
		keeps = "it is empty"
	}
	if s.MaxBytes <= 0 {
		if s.MaxAge <= 0 {
			return []Finding{warning("Set streams.history_age, and run seamark streams apply.", "%s has no limit: %s, and it grows for ever", s.Name, keeps)}
		}
		return []Finding{healthy("%s; %s drops what is older than %v", keeps, s.Name, s.MaxAge)}
	}
	rate, known := s.perSecond()
	used := float64(s.Bytes) / float64(s.MaxBytes)
	if !known {
		if used > muchUsed {
			return []Finding{warning("Raise streams.history_bytes, and run seamark streams apply.", "%s, %.0f %% of the %s that %s may have", keeps, 100*used, size(uint64(s.MaxBytes)), s.Name)}
		}
		return []Finding{healthy("%s, %.0f %% of the %s that %s may have; too new for a forecast", keeps, 100*used, size(uint64(s.MaxBytes)), s.Name)}
	}
	return []Finding{forecastHistory(s, keeps, rate, used)}
}

// forecastHistory judges a stream with a limit of bytes by the rate at which it grows.
func forecastHistory(s Stream, keeps string, rate, used float64) Finding {
	grows := fmt.Sprintf("grows by %s a day", size(uint64(rate*86400)))
	fits := seconds(float64(s.MaxBytes) / max(rate, 1e-9)) // how much history the limit leaves at this rate
	const fix = "Raise streams.history_bytes far above what history_age needs, and run seamark streams apply."
	switch {
	case s.MaxAge > 0 && fits >= s.MaxAge:
		return healthy("%s, %.0f %% of its limit, and %s: age limits it (%v), at about %s", keeps, 100*used, grows, s.MaxAge, size(uint64(rate*s.MaxAge.Seconds())))
	case fits < leastHistory:
		return critical(fix, "%s, and %s: the %s that %s may have hold only %s, and facts are published again once a day: they can age out while they hold", keeps, grows, size(uint64(s.MaxBytes)), s.Name, days(fits))
	case used > nearlyAllUsed:
		return warning(fix, "%s, and %s: the limit of %s is met, so the history reaches back %s instead of %s", keeps, grows, size(uint64(s.MaxBytes)), days(fits), days(s.MaxAge))
	}
	left := seconds((1 - used) * float64(s.MaxBytes) / max(rate, 1e-9))
	if left < foreseeable {
		return warning(fix, "%s, and %s: its limit of %s is met in %s", keeps, grows, size(uint64(s.MaxBytes)), days(left))
	}
	return healthy("%s, and %s: its limit of %s is met in %s", keeps, grows, size(uint64(s.MaxBytes)), days(left))
}

func judgeStorage(f *Facts) []Finding {
	a := f.Account
	if a.Err != nil {
		return []Finding{unknown(rightsFix, "how much the account may store can't be told: %v", a.Err)}
	}
	if a.NoJetStream {
		return nil
	}
	const fix = "Give the account more storage, or keep less history (streams.history_age): at the limit nothing can be stored any more."
	var found []Finding
	if a.MostBytes > 0 {
		used := float64(a.Bytes) / float64(a.MostBytes)
		is := fmt.Sprintf("%s of the %s that the account may store (%.0f %%)", size(uint64(max(a.Bytes, 0))), size(uint64(a.MostBytes)), 100*used)
		rate, known := f.Streams.Events.perSecond()
		left := seconds(float64(a.MostBytes-a.Bytes) / max(rate*float64(max(f.Streams.Events.Replicas, 1)), 1e-9))
		switch {
		case used > nearlyAllUsed:
			found = append(found, critical(fix, "%s", is))
		case known && left < soon:
			found = append(found, critical(fix, "%s: at the present rate the limit is met in %s", is, days(left)))
		case known && left < foreseeable:
			found = append(found, warning(fix, "%s: at the present rate the limit is met in %s", is, days(left)))
		case used > muchUsed:
			found = append(found, warning(fix, "%s", is))
		case known:
			found = append(found, healthy("%s: at the present rate the limit is met in %s, unless age ends the history before", is, days(left)))
		default:
			found = append(found, healthy("%s; too new for a forecast", is))
		}
	} else {
		found = append(found, healthy("%s are stored, and the account has no limit; the servers' disks can't be seen from here", size(uint64(max(a.Bytes, 0)))))
	}
	if a.MostConsumer > 0 && float64(a.Consumers) > muchUsed*float64(a.MostConsumer) {
		found = append(found, warning("Raise the account's limit of consumers: each reader needs two, each agent two or three.", "%d of the %d consumers that the account may have", a.Consumers, a.MostConsumer))
	}
	return found
}

// needed are the rights of an operator, by what they are for.
var needed = []struct{ subject, purpose string }{
	{"mesh.v1._operator.order.drain.x", "give orders"},
	{"mesh.v1._operator.zone", "change the zone record"},
	{"$JS.API.STREAM.INFO.MESH_EVENTS", "look at the streams"},
	{"$JS.API.DIRECT.GET.MESH_EVENTS.mesh.v1._operator.zone", "read the zone record"},
	{"$JS.API.CONSUMER.CREATE.MESH_EVENTS.x", "read the stream"},
	{"$JS.API.CONSUMER.MSG.NEXT.MESH_EVENTS.x", "read the stream"},
	{"$JS.API.STREAM.UPDATE.MESH_EVENTS", "change the streams"},
}

func judgeRights(f *Facts) []Finding {
	r := f.Rights
	if r.Err != nil {
		return []Finding{unknown(rightsFix, "the server does not tell what these credentials may do: %v", r.Err)}
	}
	who := "these credentials"
	if r.User != "" {
		who = "user " + r.User
	}
	if !r.Limited {
		return []Finding{healthy("no restriction is set for %s", who)}
	}
	var lacks []string
	for _, n := range needed {
		if !r.mayPublish(n.subject) && !slices.Contains(lacks, n.purpose) {
			lacks = append(lacks, n.purpose)
		}
	}
	if len(lacks) > 0 {
		return []Finding{warning("Give the operator's credentials the rights that docs/operations.md lists.", "%s may not %s", who, strings.Join(lacks, ", nor "))}
	}
	if r.mayPublish("mesh.v1.a-cluster.svc.default.a-service") {
		return []Finding{warning("Limit the operator's credentials to mesh.v1._operator.>: then a mistake can't speak for a cluster.", "%s may publish in the names of clusters", who)}
	}
	return []Finding{healthy("%s may read the mesh, give orders, and change the zone and the streams; no more", who)}
}

// mayPublish applies the lists as the server does.
func (r Rights) mayPublish(subject string) bool {
	covers := func(pattern string) bool { return subjectMatches(pattern, subject) }
	if slices.ContainsFunc(r.PublishDeny, covers) {
		return false
	}
	return len(r.PublishAllow) == 0 || slices.ContainsFunc(r.PublishAllow, covers)
}

// subjectMatches tells whether a NATS subject is covered by a pattern with * and >.
func subjectMatches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for n, token := range p {
		switch {
		case token == ">":
			return n < len(s)
		case n >= len(s), token != "*" && token != s[n]:
			return false
		}
	}
	return len(p) == len(s)
}
