package export_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// list is a History in memory: what an export is compared with.
type list []registry.Stored

var errTest = fmt.Errorf("the stream can't be reached")

func (l list) Span(context.Context) (audit.Span, error) {
	if len(l) == 0 {
		return audit.Span{First: 1, Began: 1}, nil
	}
	span := audit.Span{First: l[0].Sequence, Last: l[len(l)-1].Sequence, Begin: l[0].Time, End: l[len(l)-1].Time, Began: 1}
	for n := range len(l) - 1 {
		if l[n+1].Sequence > l[n].Sequence+1 {
			span.Holes = append(span.Holes, [2]uint64{l[n].Sequence + 1, l[n+1].Sequence - 1})
		}
	}
	return span, nil
}

func (l list) SequenceAt(_ context.Context, t time.Time) (uint64, error) {
	for _, m := range l {
		if !m.Time.Before(t) {
			return m.Sequence, nil
		}
	}
	if len(l) == 0 {
		return 1, nil
	}
	return l[len(l)-1].Sequence + 1, nil
}

func (l list) Read(_ context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for _, m := range l {
			if m.Sequence >= r.From && (r.To == 0 || m.Sequence <= r.To) && fits(m.Subject, r.Filter) && !yield(m, nil) {
				return
			}
		}
	}
}

func (l list) Latest(_ context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for n, m := range l {
			later := slices.ContainsFunc(l[n+1:], func(o registry.Stored) bool { return o.Subject == m.Subject && o.Sequence < before })
			if m.Sequence < before && !later && fits(m.Subject, filters) && !yield(m, nil) {
				return
			}
		}
	}
}

// fits knows the filters that the tests use.
func fits(subject string, filters []string) bool {
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f string) bool {
		tree, ok := strings.CutSuffix(f, ".>")
		return f == subject || f == ">" || ok && strings.HasPrefix(subject, tree+".")
	})
}

var filters = [][]string{nil, {"mesh.v1.a.>"}, {"foreign", "mesh.v1.b.cluster"}, {"mesh.v1.a.svc.x.y"}, {"nothing"}}

// failing gives some messages and then an error.
type failing struct {
	list
	after int
}

func (f failing) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		n := 0
		for m := range f.list.Read(ctx, r) {
			if n++; n > f.after {
				yield(registry.Stored{}, errTest)
				return
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

var origin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// anyMessages draws messages such as nobody writes.
func anyMessages(t *rapid.T) list {
	text := rapid.OneOf(rapid.StringN(0, 20, 60), rapid.SampledFrom([]string{"a", "Nats-Msg-Id", "ce-id", "ce-time", "\x00\xff", "\uFFFD", `a"b\`, `","subject":"`, "a%20b%zz", "gzip", "Content-Encoding"}))
	subjects := rapid.SampledFrom([]string{"mesh.v1.a.svc.x.y", "mesh.v1.a.svc.x.z", "mesh.v1.b.svc.x.y", "mesh.v1.b.cluster", "foreign", "\xffbad", `quo"te`, "\uFFFD"})
	bodies := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 100), rapid.SampledFrom([][]byte{
		[]byte(`{}`), []byte(`null`), []byte(` {"a": 1 } `), []byte("{\n}"), []byte(`{"a":"<&>\u2028","b":"` + "\u2028" + `","c":1.0e5}`), []byte(`"seamarksequence":"77"`), []byte(`{"seamarksequence":"77"}`), nil,
	}))
	sequence, at := uint64(rapid.IntRange(0, 9).Draw(t, "from")), origin
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) registry.Stored {
		sequence += uint64(rapid.SampledFrom([]int{1, 1, 1, 5}).Draw(t, "step"))
		at = at.Add(time.Duration(rapid.IntRange(0, 5e9).Draw(t, "time")))
		m := registry.Stored{Sequence: sequence, Time: at, Subject: subjects.Draw(t, "subject"), Body: bodies.Draw(t, "body")}
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			if m.Header == nil {
				m.Header = map[string][]string{}
			}
			m.Header[text.Draw(t, "key")] = rapid.SliceOfN(text, 0, 3).Draw(t, "values")
		}
		return m
	}), 0, 30).Draw(t, "messages")
}

// plain makes messages that look like the mesh's.
func plain(count int) list {
	var out list
	for n := range count {
		at := origin.Add(time.Duration(n) * time.Second)
		out = append(out, registry.Stored{
			Sequence: uint64(n + 1), Time: at, Subject: fmt.Sprintf("mesh.v1.a.svc.shop.s-%d", n%10),
			Header: map[string][]string{"Nats-Msg-Id": {fmt.Sprintf("a-1-%d", n)}, "ce-id": {fmt.Sprintf("a-1-%d", n)}, "ce-type": {"seamark.service.v1"}, "ce-source": {"/seamark/a"}, "ce-time": {at.Format(time.RFC3339Nano)}, "Seamark-Epoch": {"1"}, "Seamark-Revision": {fmt.Sprint(n)}},
			Body: fmt.Appendf(nil, `{"schema":"seamark/1.0","id":"a-1-%d","kind":"service","writer":"a","epoch":1,"revision":%d,"time":%q,"agent":"=cmd|x","cause":"change","service":{"namespace":"shop","name":"s-%d","instances":[],"total":0,"serving":0,"changes":{"removed":["i-%d"]},"changed":{"epoch":1,"revision":1,"time":%q},"seen":%q}}`,
				n, n, at.Format(time.RFC3339Nano), n%10, n, at.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano)),
		})
	}
	return out
}
