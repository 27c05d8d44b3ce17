package consul

import (
	"container/heap"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// session is one life of a Watch: from one full read until an error. All of its
// state belongs to the goroutine that runs loop; watches and reads run on others
// and hand it what they found as events.
type session struct {
	source *Source
	client *client
	emit   func(registry.Snapshot)
	mode   Mode
	byNode bool      // checks are watched node by node, not as the lists of the critical and of the warning
	better time.Time // when to choose the mode again; zero: never
	fail   context.CancelCauseFunc
	ended  <-chan struct{}
	events chan func()
	wg     sync.WaitGroup

	entries map[string]*entry // by folded name
	nodes   map[string]*node  // by folded name
	where   places            // what hints are compared with
	barred  map[string]bool   // names that Consul cannot be asked for
	ready   []*entry          // due to be read
	delayed delays            // will be due
	reading int

	snapshot registry.Snapshot
	changed  map[string]bool // since the last snapshot
	emitted  time.Time
	index    uint64 // the highest seen
	sweep    chan struct{}
	hidden   chan struct{} // capacity 1: a read missed what ACLs may hide, or was denied
}

// steadyReads is how many services are read at once after the start.
const steadyReads = 8

// entry is one service.
type entry struct {
	name    string
	record  record
	expect  []expectation      // of the hints since the last read was sent
	sent    []expectation      // of the hints that the read in flight is for
	doubts  map[mark]time.Time // instances that were absent, and since when
	queued  bool
	reading bool
	again   bool // a hint came while it was read
	tries   int  // reads that did not bear out their hints
	due     time.Time
	place   int // in delayed; -1: not there
	follow  context.CancelFunc
}

// maxExpectations bounds what is remembered of hints for one service.
const maxExpectations = 64

// maxTries is how often a read that does not bear out its hint is repeated, each
// after twice the pause. What never shows was undone in the meantime.
const maxTries = 6

func (s *Source) watchOnce(parent context.Context, emit func(registry.Snapshot)) error {
	if parent.Err() != nil {
		return context.Cause(parent)
	}
	c, err := s.connect(poolPlain)
	if err != nil {
		return err
	}
	defer c.close()
	s.aclsOff.Store(nil) // it may be another Consul than the last time
	ctx, fail := context.WithCancelCause(parent)
	defer fail(nil)
	w := &session{
		source: s, client: c, emit: emit, fail: fail, ended: ctx.Done(), events: make(chan func(), 64),
		entries: make(map[string]*entry), nodes: make(map[string]*node),
		where: newPlaces(), barred: make(map[string]bool), changed: make(map[string]bool), sweep: make(chan struct{}, 1),
		hidden: make(chan struct{}, 1),
	}
	defer w.wg.Wait()
	defer fail(nil)
	if err := w.start(ctx); err != nil {
		s.shrink(err)
		return err
	}
	s.setRunning(w)
	defer s.setRunning(nil)
	err = w.loop(ctx)
	s.shrink(err)
	return err
}

func (s *Source) setRunning(w *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = w
}

// linger notes that Consul holds a connection until then: it does not notice that
// a query over plain HTTP was cancelled, and counts it against its limit until
// the query's wait ends.
func (s *Source) linger(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingering = append(s.lingering, until)
}

// stillLingering returns how many such connections Consul holds, and until when.
func (s *Source) stillLingering(now time.Time) (count int, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingering = slices.DeleteFunc(s.lingering, now.After)
	for _, t := range s.lingering {
		if t.After(until) {
			until = t
		}
	}
	return len(s.lingering), until
}

// shrink halves the number of concurrent reads when Consul found it too many.
func (s *Source) shrink(err error) {
	if limited(err) {
		s.pool.Store(max(poolLeast, s.startPool()/2))
	}
}

func (s *Source) startPool() int32 { return s.pool.Load() }

func (s *Source) remember(name string, r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(r.marks) == 0 {
		delete(s.known, name)
	} else {
		s.known[name] = r
	}
}

// send hands an event to the loop; it reports false when the session has ended.
func (w *session) send(ctx context.Context, event func()) bool {
	select {
	case w.events <- event:
		return true
	case <-ctx.Done():
		return false
	case <-w.ended:
		return false
	}
}

// run is send, but returns when the event has run. A goroutine that goes on at once
// keeps the processor from the loop that it has just woken, and another one takes
// about a tenth of a millisecond to wake up for it.
func (w *session) run(ctx context.Context, event func()) bool {
	done := make(chan struct{})
	if !w.send(ctx, func() { defer close(done); event() }) {
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	case <-w.ended:
		return false
	}
}

// loop runs events, reads, and pauses until ctx ends.
func (w *session) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		w.promote(now)
		w.dispatch(ctx)
		next := w.flush(now)
		if len(w.delayed) > 0 && (next.IsZero() || w.delayed[0].due.Before(next)) {
			next = w.delayed[0].due
		}
		if next.IsZero() {
			next = now.Add(time.Hour)
		}
		timer.Reset(time.Until(next))
		select {
		case event := <-w.events:
			event()
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flush emits what changed: at once, unless more is on its way and the last
// snapshot is very recent. It returns when to flush at the latest.
func (w *session) flush(now time.Time) (next time.Time) {
	if len(w.changed) == 0 {
		return time.Time{}
	}
	busy := w.reading > 0 || len(w.ready) > 0 || len(w.events) > 0
	if next = w.emitted.Add(w.source.timing.coalesce); busy && now.Before(next) {
		return next
	}
	var changed []registry.Service
	var gone []registry.ServiceKey
	for name := range w.changed {
		if e := w.entries[name]; e != nil && len(e.record.service.Instances) > 0 {
			changed = append(changed, e.record.service)
		} else {
			gone = append(gone, registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name})
		}
	}
	clear(w.changed)
	index := strconv.FormatUint(w.index, 10)
	if len(changed) > 0 {
		w.snapshot = w.snapshot.With(index, changed...)
	}
	if len(gone) > 0 {
		w.snapshot = w.snapshot.Without(index, gone...)
	}
	w.emitted = now
	w.emit(w.snapshot)
	return time.Time{}
}

// entry returns the entry of a name that is read; nil for others.
func (w *session) entry(name string) *entry {
	if e := w.entries[name]; e != nil || w.barred[name] {
		return e
	}
	ok, refusal := w.source.door.admits(name)
	if refusal != nil {
		w.source.config.Refused(refusal)
	}
	if !ok {
		return nil
	}
	e := &entry{name: name, place: -1}
	w.entries[name] = e
	return e
}

// hint says that a service may have changed, and what a read must show then. A
// hint that is on its way to be answered already is no news.
func (w *session) hint(name string, expect ...expectation) {
	e := w.entry(fold(name))
	if e == nil {
		return
	}
	news := len(expect) == 0
	for _, x := range expect {
		if slices.Contains(e.sent, x) || slices.Contains(e.expect, x) {
			continue
		}
		if _, doubted := e.doubts[x.mark]; doubted && x.past {
			continue
		}
		news = true
		if len(e.expect) < maxExpectations {
			e.expect = append(e.expect, x)
		}
	}
	if news {
		e.tries = 0
		w.queue(e)
	}
}

// queue makes an entry due now.
func (w *session) queue(e *entry) {
	if e.place >= 0 {
		heap.Remove(&w.delayed, e.place)
	}
	switch {
	case e.reading:
		e.again = true
	case !e.queued:
		e.queued = true
		w.ready = append(w.ready, e)
	}
}

// delay makes an entry due later, if it is not due before.
func (w *session) delay(e *entry, due time.Time) {
	switch {
	case e.queued || e.again:
	case e.place < 0:
		e.due = due
		heap.Push(&w.delayed, e)
	case due.Before(e.due):
		e.due = due
		heap.Fix(&w.delayed, e.place)
	}
}

func (w *session) promote(now time.Time) {
	for len(w.delayed) > 0 && !w.delayed[0].due.After(now) {
		w.queue(w.delayed[0])
	}
}

// dispatch sends the reads that are due.
func (w *session) dispatch(ctx context.Context) {
	for w.reading < steadyReads && len(w.ready) > 0 {
		e := w.ready[0]
		w.ready = w.ready[1:]
		e.queued, e.reading = false, true
		w.reading++
		e.sent, e.expect = e.expect, nil
		settled := time.Now().Add(-w.source.timing.settle)
		var confirmed []mark
		for m, since := range e.doubts {
			if !since.After(settled) {
				confirmed = append(confirmed, m)
			}
		}
		q := question{before: e.record, confirm: never}
		if len(confirmed) > 0 {
			set := make(map[mark]bool, len(confirmed))
			for _, m := range confirmed {
				set[m] = true
			}
			q.confirm = func(m mark) bool { return set[m] }
		}
		w.wg.Go(func() {
			got, err := w.source.readService(ctx, w.client, e.name, q)
			if err != nil {
				w.fail(err)
				return
			}
			w.send(ctx, func() { w.finish(ctx, e, q, got) })
		})
	}
	if len(w.ready) == 0 {
		w.ready = nil
	}
}

// finish takes a read's answer in.
func (w *session) finish(ctx context.Context, e *entry, q question, got answer) {
	expect := e.sent
	e.sent, e.reading = nil, false
	w.reading--
	if got.barred {
		w.bar(e.name)
	}
	w.index = max(w.index, got.record.index)
	w.source.refuse(got.refused)
	if len(got.hidden) > 0 {
		w.doubtRights()
	}
	now := time.Now()

	// What is absent for the first time stands until it has been confirmed.
	var doubted []mark
	doubts := make(map[mark]time.Time)
	for _, m := range missing(q.before, got.record) {
		if q.confirm(m) {
			continue
		}
		since, ok := e.doubts[m]
		if !ok {
			since = now
		}
		doubted = append(doubted, m)
		doubts[m] = since
	}
	e.doubts = doubts
	w.believe(ctx, e, keep(e.record, got.record, doubted))

	unmet := slices.DeleteFunc(expect, func(x expectation) bool { return x.met(got.record) })
	if e.again {
		e.again = false
		e.expect = append(e.expect, unmet...)
		w.queue(e)
		return
	}
	for _, since := range doubts {
		w.delay(e, since.Add(w.source.timing.settle))
	}
	if len(unmet) > 0 && e.tries < maxTries {
		e.expect = append(e.expect, unmet...)
		w.delay(e, now.Add(w.source.timing.retry<<e.tries))
		e.tries++
	}
	if len(e.record.marks) == 0 && e.place < 0 && !e.queued && len(e.doubts) == 0 {
		w.forget(e)
	}
}

// believe replaces what an entry says.
func (w *session) believe(ctx context.Context, e *entry, r record) {
	before := e.record
	e.record = r
	w.source.remember(e.name, r)
	if w.mode == ModePerService {
		w.hintMoved(e, before, r)
	} else {
		w.where.move(e, before, r)
	}
	if !before.service.Equal(r.service) && len(before.service.Instances)+len(r.service.Instances) > 0 {
		w.changed[e.name] = true
	}
	if w.mode == ModePerService && e.follow == nil && len(r.marks) > 0 {
		w.followService(ctx, e)
	}
}

// forget drops a service that has nothing left.
func (w *session) forget(e *entry) {
	if e.follow != nil {
		e.follow()
	}
	delete(w.entries, e.name)
}

// maxBarred bounds what is remembered of names that cannot be asked for.
const maxBarred = 10000

func (w *session) bar(name string) {
	if len(w.barred) >= maxBarred {
		clear(w.barred)
	}
	w.barred[name] = true
}

// compare reads again every service for which someone else's full read found
// something else.
func (w *session) compare(ctx context.Context, records map[string]record) {
	w.send(ctx, func() {
		for name, r := range records {
			if e := w.entries[name]; e == nil || !e.record.service.Equal(r.service) {
				w.hint(name)
			}
		}
		for name, e := range w.entries {
			if _, there := records[name]; !there && len(e.record.marks) > 0 {
				w.hint(name)
			}
		}
	})
}

// delays is a heap of entries by due.
type delays []*entry

func (d delays) Len() int           { return len(d) }
func (d delays) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delays) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

func (d *delays) Push(x any) {
	e, _ := x.(*entry)
	e.place = len(*d)
	*d = append(*d, e)
}

func (d *delays) Pop() any {
	old := *d
	e := old[len(old)-1]
	e.place = -1
	*d = old[:len(old)-1]
	return e
}
