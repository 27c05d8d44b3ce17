package audit

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// tape is a history in memory, as simple as can be: what the others are compared with.
// Sequences begin with 1; lost messages are gone from its beginning.
type tape struct {
	all  []registry.Stored
	lost int
}

func (t *tape) left() []registry.Stored { return t.all[t.lost:] }

// Span implements [History].
func (t *tape) Span(context.Context) (Span, error) {
	if len(t.left()) == 0 {
		return Span{First: uint64(t.lost + 1), Last: uint64(t.lost), Began: 1}, nil
	}
	return Span{
		First: uint64(t.lost + 1), Last: uint64(len(t.all)), Begin: t.left()[0].Time, End: t.all[len(t.all)-1].Time, Began: 1,
	}, nil
}

// SequenceAt implements [History].
func (t *tape) SequenceAt(_ context.Context, when time.Time) (uint64, error) {
	for _, m := range t.left() {
		if !m.Time.Before(when) {
			return m.Sequence, nil
		}
	}
	return uint64(len(t.all) + 1), nil
}

// Read implements [History]; it does not follow.
func (t *tape) Read(_ context.Context, r Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for _, m := range t.left() {
			if m.Sequence >= r.From && (r.To == 0 || m.Sequence <= r.To) && matchesAny(r.Filter, m.Subject) && !yield(m, nil) {
				return
			}
		}
	}
}

// Latest implements [History].
func (t *tape) Latest(_ context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		last := map[string]uint64{}
		for _, m := range t.left() {
			if m.Sequence < before && matchesAny(filters, m.Subject) {
				last[m.Subject] = m.Sequence
			}
		}
		for _, m := range t.left() {
			if last[m.Subject] == m.Sequence && !yield(m, nil) {
				return
			}
		}
	}
}

func matchesAny(filters []string, subject string) bool {
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f string) bool {
		want, have := strings.Split(f, "."), strings.Split(subject, ".")
		for n, token := range want {
			switch {
			case token == ">":
				return len(have) > n
			case n >= len(have) || token != "*" && token != have[n]:
				return false
			}
		}
		return len(want) == len(have)
	})
}

// put stores an event at a time.
func (t *tape) put(when time.Time, e registry.Event) uint64 {
	e.Schema, e.Time, e.Agent = registry.Schema, when, "test"
	if e.Cause == "" {
		e.Cause = registry.CauseChange
	}
	e.ID = fmt.Sprintf("%s-%d-%d-%d", e.Writer, e.Epoch, e.Revision, len(t.all))
	subject, err := stream.Subject(e.Fact())
	if err != nil {
		panic(err)
	}
	body, err := registry.Encode(&e)
	if err != nil {
		panic(err)
	}
	header := map[string][]string{"Nats-Msg-Id": {e.ID}}
	if e.Epoch != 0 {
		header["Seamark-Epoch"], header["Seamark-Revision"] = []string{strconv.FormatUint(e.Epoch, 10)}, []string{strconv.FormatUint(e.Revision, 10)}
	}
	return t.raw(when, subject, header, body)
}

func (t *tape) raw(when time.Time, subject string, header map[string][]string, body []byte) uint64 {
	sequence := uint64(len(t.all) + 1)
	t.all = append(t.all, registry.Stored{Sequence: sequence, Time: when, Subject: subject, Header: header, Body: body})
	return sequence
}

// foldAll is the fold of everything up to a sequence, lost or not: what At must give.
func (t *tape) foldAll(to uint64) *registry.View {
	f, d := registry.NewFold(), stream.NewStoredDecoder()
	for _, m := range t.all[:to] {
		f.Apply(d.Decode(m))
	}
	f.Synced()
	return f.View()
}

func (t *tape) moment(sequence uint64) Moment {
	return Moment{Sequence: sequence, Time: t.all[sequence-1].Time}
}

// counting counts reads.
type counting struct {
	*tape
	reads int
}

// Read implements [History].
func (c *counting) Read(ctx context.Context, r Range) iter.Seq2[registry.Stored, error] {
	c.reads++
	return c.tape.Read(ctx, r)
}
