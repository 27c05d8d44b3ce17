package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// memory is a History of messages in memory: what all others are compared with.
type memory struct {
	mu       sync.Mutex
	messages []registry.Stored
	first    uint64        // of the stream, also when it is empty; 0: as the messages say
	more     chan struct{} // closed when messages are added
	fail     error         // of every read

	began     uint64
	retention *stream.Retention
}

func (h *memory) add(messages ...registry.Stored) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, messages...)
	if h.more != nil {
		close(h.more)
	}
	h.more = make(chan struct{})
}

// drop takes what is before a sequence away, as age does.
func (h *memory) drop(before uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = slices.DeleteFunc(slices.Clone(h.messages), func(m registry.Stored) bool { return m.Sequence < before })
	h.first = max(h.first, before)
}

// take takes messages away, as nothing does by itself.
func (h *memory) take(first, last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = slices.DeleteFunc(slices.Clone(h.messages), func(m registry.Stored) bool { return m.Sequence >= first && m.Sequence <= last })
}

func (h *memory) all() ([]registry.Stored, chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.more == nil {
		h.more = make(chan struct{})
	}
	return h.messages, h.more
}

func (h *memory) Span(context.Context) (audit.Span, error) {
	all, _ := h.all()
	if len(all) == 0 {
		return audit.Span{First: max(h.first, 1), Last: max(h.first, 1) - 1}, h.fail
	}
	first, last := all[0], all[len(all)-1]
	return audit.Span{First: first.Sequence, Last: last.Sequence, Begin: first.Time, End: last.Time, Began: h.began, Retention: h.retention}, h.fail
}

func (h *memory) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	all, _ := h.all()
	for _, m := range all {
		if !m.Time.Before(t) {
			return m.Sequence, nil
		}
	}
	span, err := h.Span(ctx)
	return span.Last + 1, err
}

func (h *memory) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		next := r.From
		for {
			all, more := h.all()
			for _, m := range all {
				if h.fail != nil {
					yield(registry.Stored{}, h.fail)
					return
				}
				if m.Sequence < next || r.To > 0 && m.Sequence > r.To || !matches(m.Subject, r.Filter) {
					continue
				}
				if !yield(m, nil) {
					return
				}
				next = m.Sequence + 1
			}
			if !r.Follow {
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				yield(registry.Stored{}, context.Cause(ctx))
				return
			}
		}
	}
}

func (h *memory) Latest(_ context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	all, _ := h.all()
	latest := map[string]registry.Stored{}
	for _, m := range all {
		if m.Sequence < before && matches(m.Subject, filters) {
			latest[m.Subject] = m
		}
	}
	sorted := slices.SortedFunc(maps.Values(latest), func(a, b registry.Stored) int { return int(a.Sequence) - int(b.Sequence) })
	return func(yield func(registry.Stored, error) bool) {
		for _, m := range sorted {
			if !yield(m, h.fail) {
				return
			}
		}
	}
}

// matches is written another way than the one it is compared with.
func matches(subject string, filters []string) bool {
	if len(filters) == 0 {
		return true
	}
	have := strings.Split(subject, ".")
	for _, f := range filters {
		want := strings.Split(f, ".")
		tree := want[len(want)-1] == ">"
		if tree {
			want = want[:len(want)-1]
		}
		if tree && len(have) <= len(want) || !tree && len(have) != len(want) {
			continue
		}
		fits := true
		for n, token := range want {
			fits = fits && (token == "*" || token == have[n])
		}
		if fits {
			return true
		}
	}
	return false
}

var origin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// message makes a message that looks like one of the mesh's.
func message(sequence uint64, service int) registry.Stored {
	cluster := []string{"east", "west", "north"}[service%3]
	subject := fmt.Sprintf("mesh.v1.%s.svc.shop.service-%d", cluster, service)
	at := origin.Add(time.Duration(sequence) * 1300 * time.Millisecond)
	random := rand.New(rand.NewPCG(sequence, 7))
	id := fmt.Sprintf("%s-%d-%d-%016x", cluster, at.Unix()/86400, sequence, random.Uint64())
	var instances []string
	for n := range 3 {
		instances = append(instances, fmt.Sprintf(`{"id":"service-%d-%d","address":"10.%d.%d.%d","port":8080,"weight":1,"health":"passing","version":"1.%d.0","meta":{"region":"%s"}}`,
			service, n, service%3, service%251, n, random.IntN(9), cluster))
	}
	body := fmt.Sprintf(`{"schema":"seamark/1.0","id":%q,"kind":"service","writer":%q,"epoch":1772366400,"revision":%d,"time":%q,"agent":"host-%s/1","cause":"change","service":{"namespace":"shop","name":"service-%d","instances":[%s],"total":3,"serving":3,"changes":{"changed":[{"id":"service-%d-0","fields":["version"]}]},"changed":{"epoch":1772366400,"revision":%d,"time":%q},"index":"%d","seen":%q}}`,
		id, cluster, sequence, at.Format(time.RFC3339Nano), cluster, service, strings.Join(instances, ","), service, sequence, at.Format(time.RFC3339Nano), sequence*7, at.Format(time.RFC3339Nano))
	return registry.Stored{Sequence: sequence, Time: at, Subject: subject, Body: []byte(body), Header: map[string][]string{
		"Nats-Msg-Id": {id}, "Content-Type": {"application/json"}, "ce-specversion": {"1.0"}, "ce-id": {id}, "ce-type": {"seamark.service.v1"},
		"ce-source": {"/seamark/" + cluster}, "ce-time": {at.Format(time.RFC3339Nano)}, "ce-subject": {fmt.Sprintf("shop/service-%d", service)},
		"Seamark-Epoch": {"1772366400"}, "Seamark-Revision": {fmt.Sprint(sequence)},
	}}
}

// history makes so many messages from a sequence on.
func history(from, count uint64, services int) []registry.Stored {
	random := rand.New(rand.NewPCG(from, uint64(services)))
	var out []registry.Stored
	for n := range count {
		out = append(out, message(from+n, random.IntN(services)))
	}
	return out
}

// anyMessages draws messages such as nobody writes: holes, strange texts, times that go back.
func anyMessages(t *rapid.T, from uint64, label string) []registry.Stored {
	text := rapid.OneOf(rapid.StringN(0, 20, 60), rapid.SampledFrom([]string{"a", "Nats-Msg-Id", "\x00\xff", ""}))
	subjects := rapid.SampledFrom([]string{"mesh.v1.a.svc.x.y", "mesh.v1.a.svc.x.z", "mesh.v1.b.svc.x.y", "mesh.v1.b.cluster", "mesh.v1._operator.zone", "foreign", "mesh.v1.a.note.k"})
	at := origin
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) registry.Stored {
		from += uint64(rapid.SampledFrom([]int{1, 1, 1, 1, 2, 9}).Draw(t, "step"))
		at = at.Add(time.Duration(rapid.IntRange(-1e9, 5e9).Draw(t, "time")))
		m := registry.Stored{Sequence: from, Time: at, Subject: subjects.Draw(t, "subject"), Body: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body")}
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			if m.Header == nil {
				m.Header = map[string][]string{}
			}
			m.Header[text.Draw(t, "key")] = rapid.SliceOfN(text, 0, 3).Draw(t, "values")
		}
		return m
	}), 0, 60).Draw(t, label)
}

// read gathers what a sequence yields; an error ends the test.
func read(t require, messages iter.Seq2[registry.Stored, error]) []registry.Stored {
	t.Helper()
	var out []registry.Stored
	for m, err := range messages {
		if err != nil {
			t.Fatalf("after %d messages: %v", len(out), err)
		}
		out = append(out, m)
	}
	return out
}

type require interface {
	Helper()
	Fatalf(format string, detail ...any)
	Errorf(format string, detail ...any)
}

// equal compares messages; a nil slice is an empty one.
func equal(t require, what string, got, want []registry.Stored) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d messages, want %d", what, len(got), len(want))
	}
	for n, m := range got {
		w := want[n]
		headers := maps.EqualFunc(m.Header, w.Header, func(a, b []string) bool { return slices.Equal(a, b) })
		if m.Sequence != w.Sequence || !m.Time.Equal(w.Time) || m.Subject != w.Subject || !bytes.Equal(m.Body, w.Body) || !headers {
			t.Fatalf("%s: message %d is %+v, want %+v", what, n, m, w)
		}
	}
}

// alike asks two histories the same questions.
func alike(t require, ctx context.Context, got, want audit.History, random func(n int) int) {
	t.Helper()
	span, err := got.Span(ctx)
	expected, _ := want.Span(ctx)
	span.Holes, span.Gone = nil, nil // a memory does not tell
	if err != nil || !reflect.DeepEqual(span, expected) {
		t.Fatalf("span %+v, %v; want %+v", span, err, expected)
	}
	filters := [][]string{nil, {">"}, {"mesh.v1.>"}, {"mesh.v1.a.svc.x.y"}, {"mesh.v1.*.svc.x.y", "foreign"}, {"mesh.v1.b.*"}, {"nothing"}, {"*"}, {"mesh.v1.east.>"}, {"mesh.v1.*.svc.shop.service-3"}}
	for range 12 {
		f := filters[random(len(filters))]
		r := audit.Range{From: uint64(random(int(span.Last) + 5)), To: uint64(random(int(span.Last) + 5)), Filter: f}
		equal(t, fmt.Sprintf("read %+v", r), read(t, got.Read(ctx, r)), read(t, want.Read(ctx, r)))
		before := uint64(random(int(span.Last) + 5))
		equal(t, fmt.Sprintf("latest before %d of %v", before, f), read(t, got.Latest(ctx, before, f...)), read(t, want.Latest(ctx, before, f...)))
		at := origin.Add(time.Duration(random(max(int(span.End.Sub(origin)), 0)+2e9)) - time.Second)
		sequence, err := got.SequenceAt(ctx, at)
		if right, _ := want.SequenceAt(ctx, at); err != nil || sequence != right {
			t.Fatalf("sequence at %v: %d, %v; want %d", at, sequence, err, right)
		}
	}
}

var errTest = errors.New("the stream can't be reached")

func start(t *testing.T) (context.Context, string) {
	t.Helper()
	return t.Context(), t.TempDir() + "/archive"
}
