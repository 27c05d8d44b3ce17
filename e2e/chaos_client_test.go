package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
)

// allowedLag is how long an answer may say what was true before, when nothing is wrong.
// A replica that was started again may answer as of its checkpoint, and says so.
const allowedLag, checkpointAge = 5 * time.Second, 6 * time.Second

// disturbance is a fault that holds up what a cluster's agent or a replica says. It
// lasts until everything is right again. While it does, an answer may be as old as it.
type disturbance struct {
	begun    time.Time
	clusters []string // whose changes are held up
	replica  int      // whose answers are held up; -1: none
	judged   []string // clusters that may be taken for stale or down, and then serve only where nobody else can
}

// observation is what clients saw while an experiment went on.
type observation struct {
	Queries     int            `json:"queries"`     // each asked at both replicas
	Unavailable int            `json:"unavailable"` // no replica gave an answer within a second
	Failed      [2]int         `json:"failed"`      // by replica: no answer within a second, or SERVFAIL
	Marked      int            `json:"marked"`      // answers with an extended error: stale
	Behind      time.Duration  `json:"behind"`      // the longest for which an answer said what was no longer true
	Until       time.Duration  `json:"until"`       // from the injection to the last answer that was more than a second behind
	Wrong       map[string]int `json:"wrong"`       // what was not even true within the allowed time
}

// watcher3 asks both replicas for all names all the time, and holds each answer to the
// truth.
type watcher3 struct {
	chaos *chaos

	mu        sync.Mutex // guards what follows
	seen      observation
	disturbed *disturbance
	gateways  map[string]string // address → cluster
}

// question is a name, and the clusters of which it may give gateways.
type question struct {
	name, service string
	clusters      []string
}

func (c *chaos) questions() []question {
	var all []question
	var every []string
	for _, cluster := range c.clusters {
		every = append(every, cluster.name)
	}
	for n := range chaosServices {
		service := serviceName(n)
		all = append(all, question{service + ".svc.mesh.internal.", service, every})
		for _, cluster := range c.clusters {
			all = append(all, question{clusterName(service, cluster.name), service, []string{cluster.name}})
		}
	}
	return all
}

// watch asks until it is stopped.
func (c *chaos) watch(t *testing.T) (w *watcher3, stop func()) {
	t.Helper()
	w = &watcher3{chaos: c, gateways: map[string]string{}, seen: observation{Wrong: map[string]int{}}}
	for _, cluster := range c.clusters {
		w.gateways[cluster.gateway] = cluster.name
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	questions, room := c.questions(), make(chan struct{}, 400)
	wg.Go(func() {
		tick := time.NewTicker(time.Duration(float64(time.Second) / c.plan.questionsPerSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			room <- struct{}{}
			wg.Go(func() {
				defer func() { <-room }()
				w.ask(ctx, questions[n%len(questions)])
			})
		}
	})
	return w, func() { cancel(); wg.Wait() }
}

// ask asks both replicas at once. Nobody waits longer than a second.
func (w *watcher3) ask(ctx context.Context, q question) {
	var answers [2]ask.Answer
	var failed [2]error
	var took [2]time.Duration
	asked := time.Now()
	var wg sync.WaitGroup
	for n, r := range w.chaos.replicas {
		wg.Go(func() {
			bounded, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			answers[n], failed[n] = ask.Ask(bounded, r.dns, q.name, "A")
			if failed[n] == nil && answers[n].RCode == "SERVFAIL" {
				failed[n] = fmt.Errorf("SERVFAIL %v", answers[n].Extended)
			}
			took[n] = time.Since(asked)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return // it was cut short by the end
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Queries++
	if failed[0] != nil && failed[1] != nil {
		w.seen.Unavailable++
	}
	for n := range answers {
		if failed[n] != nil {
			w.seen.Failed[n]++
			continue
		}
		w.hold(n, q, answers[n], asked, asked.Add(took[n]))
	}
}

// hold compares an answer with what was true.
func (w *watcher3) hold(replica int, q question, a ask.Answer, asked, answered time.Time) {
	if len(a.Extended) > 0 {
		w.seen.Marked++
	}
	if a.RCode != "NOERROR" {
		for _, cluster := range q.clusters {
			if a.RCode != "NXDOMAIN" || !w.chaos.forgot.Load() || !w.chaos.truth.gone(cluster, q.service, w.since(replica, cluster, asked), answered) {
				w.wrong(replica, q, a, "it is a known name")
				break
			}
		}
		return
	}
	given := map[string]bool{}
	for _, address := range a.Data {
		cluster := w.gateways[address]
		if !slices.Contains(q.clusters, cluster) {
			w.wrong(replica, q, a, "no gateway of these clusters")
			return
		}
		given[cluster] = true
	}
	truth := w.chaos.truth
	missed, sure := []string{}, false
	old := w.disturbed != nil && w.disturbed.replica == replica && slices.ContainsFunc(a.Extended, func(e string) bool { return strings.Contains(e, "checkpoint") })
	for _, cluster := range q.clusters {
		from := w.since(replica, cluster, asked)
		if old {
			from = from.Add(-checkpointAge)
		}
		judged := w.judged(cluster, q) || old && len(q.clusters) > 1 // or was, as of the checkpoint
		behind := w.behind(q, cluster, given, asked, judged)
		w.seen.Behind = max(w.seen.Behind, behind)
		if w.disturbed != nil && behind > time.Second {
			w.seen.Until = max(w.seen.Until, asked.Sub(w.disturbed.begun))
		}
		if given[cluster] {
			if !truth.could(cluster, q.service, true, from, answered) {
				w.wrong(replica, q, a, cluster+" is not registered")
			}
			continue
		}
		if !truth.could(cluster, q.service, false, from, answered) {
			sure = true
			if !judged {
				missed = append(missed, cluster)
			}
		}
	}
	if len(missed) > 0 || sure && len(given) == 0 {
		w.wrong(replica, q, a, fmt.Sprintf("%v can serve and is missing", missed))
	}
}

// behind tells how old an answer's word about one cluster is. Where somebody else serves,
// a cluster that is missing may have been judged, which says nothing of its age.
func (w *watcher3) behind(q question, cluster string, given map[string]bool, asked time.Time, judged bool) time.Duration {
	if !given[cluster] && judged && len(given) > 0 {
		return 0
	}
	return w.chaos.truth.behind(cluster, q.service, given[cluster], asked)
}

// since returns from when on a word about a cluster may be taken.
func (w *watcher3) since(replica int, cluster string, asked time.Time) time.Time {
	from := asked
	if d := w.disturbed; d != nil && d.begun.Before(from) && (d.replica == replica || slices.Contains(d.clusters, cluster)) {
		from = d.begun
	}
	return from.Add(-allowedLag)
}

// judged reports whether a cluster may be left out where others serve.
func (w *watcher3) judged(cluster string, q question) bool {
	return w.disturbed != nil && slices.Contains(w.disturbed.judged, cluster) && len(q.clusters) > 1
}

func (w *watcher3) wrong(replica int, q question, a ask.Answer, why string) {
	if len(w.seen.Wrong) < 50 {
		w.seen.Wrong[fmt.Sprintf("replica %d: %s: %s %v %v: %s", replica, q.name, a.RCode, a.Data, a.Extended, why)]++
	} else {
		w.seen.Wrong["and others"]++
	}
}

// disturb says that a fault begins (nil: all is over), and returns what was seen since
// the last call.
func (w *watcher3) disturb(d *disturbance) observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	seen.Wrong = maps.Clone(seen.Wrong)
	w.disturbed, w.seen = d, observation{Wrong: map[string]int{}}
	return seen
}
