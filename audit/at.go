package audit

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// fewMessages are read whole sooner than anything else is found out about them.
const fewMessages = 20_000

// At returns the whole registry as the fold of the history had it after the message of
// a moment: the View is the same, byte for byte ([registry.View.AppendCanonical]), and
// is synced. Where the history has lost its beginning or has a hole before the moment, and
// it can't be proven that all that stood then is still there, the error is a [*TooEarlyError].
func At(ctx context.Context, h History, m Moment) (*registry.View, error) {
	return at(ctx, h, m, fewMessages)
}

// Stood is what stood at a moment.
type Stood struct {
	View   *registry.View
	Unused []Unused // facts whose latest message can't be used, by its sequence: of each an older message stands, or none

	redacted map[registry.Fact]int
}

// Unused is a message that took nothing away from what stood before it.
type Unused struct {
	Sequence uint64
	Fact     registry.Fact
	Reason   string // countable: not-json, schema, foreign, fenced …
	Detail   string
}

// Redacted returns how many metadata pairs of a service its agent withheld in a cluster.
func (s Stood) Redacted(cluster registry.ClusterID, key registry.ServiceKey) int {
	return s.redacted[registry.Fact{Writer: registry.Writer(cluster), Kind: registry.KindService, Service: key}]
}

// StoodAt is [At], or [ServiceAt] where a key is given, and tells what could not be used.
func StoodAt(ctx context.Context, h History, m Moment, key registry.ServiceKey) (Stood, error) {
	f, err := foldingAt(ctx, h, m, key, fewMessages)
	if err != nil {
		return Stood{}, err
	}
	return f.stood(), nil
}

// at is At, and reads whole what has fewer messages.
func at(ctx context.Context, h History, m Moment, few uint64) (*registry.View, error) {
	f, err := foldingAt(ctx, h, m, registry.ServiceKey{}, few)
	if err != nil {
		return nil, err
	}
	return f.view(), nil
}

func foldingAt(ctx context.Context, h History, m Moment, key registry.ServiceKey, few uint64) (*folding, error) {
	return intact(ctx, h, m, func(h History, span Span) (*folding, error) {
		if key == (registry.ServiceKey{}) {
			return wholeAt(ctx, h, span, m, few)
		}
		return serviceAt(ctx, h, span, m, key)
	})
}

// intact answers a question about a moment from what stands behind the last hole before it,
// and asks again when reading has found another one: damage shows when it is read.
func intact(ctx context.Context, h History, m Moment, answer func(History, Span) (*folding, error)) (*folding, error) {
	for {
		span, part, err := within(ctx, h, m)
		if err != nil {
			return nil, err
		}
		f, err := answer(part, span)
		if err != nil {
			return nil, err
		}
		now, err := h.Span(ctx)
		if err != nil {
			return nil, err
		}
		if now.behind(m.Sequence) <= max(span.behind(m.Sequence), span.First) {
			return f, nil
		}
	}
}

func wholeAt(ctx context.Context, h History, span Span, m Moment, few uint64) (*folding, error) {
	if !span.Whole() {
		return prove(ctx, h, span, m)
	}
	f := newFolding(h, m.Sequence)
	read := func(ctx context.Context) iter.Seq2[registry.Stored, error] { return h.Latest(ctx, m.Sequence+1) }
	if m.Sequence-span.First < few {
		read = func(ctx context.Context) iter.Seq2[registry.Stored, error] {
			return h.Read(ctx, Range{From: span.First, To: m.Sequence})
		}
	}
	for message, err := range decode(ctx, read) {
		if err != nil {
			return nil, fmt.Errorf("the registry at #%d: %w", m.Sequence, err)
		}
		f.take(message)
	}
	if err := f.look(ctx); err != nil {
		return nil, fmt.Errorf("the registry at #%d: %w", m.Sequence, err)
	}
	return f, nil
}

// errFiltered is why nothing is exact in a history of some subjects.
const errFiltered = "the history is limited to some subjects, so that it is not known what else stood"

// within makes sure that a moment lies in the history. It returns what stands behind the
// last hole before it.
func within(ctx context.Context, h History, m Moment) (Span, History, error) {
	span, err := h.Span(ctx)
	asked := When{Sequence: m.Sequence}
	if err == nil {
		err = span.reaches(asked)
	}
	if err == nil && span.Filtered {
		err = &TooEarlyError{Asked: asked.String(), Reason: errFiltered}
	}
	if err != nil {
		return span, h, err
	}
	first := span.behind(m.Sequence)
	switch {
	case first <= span.First:
		return span, h, nil
	case first > m.Sequence:
		return span, h, tooEarly(ctx, h, m, fmt.Sprintf("the history has a hole there, up to #%d", first-1))
	}
	span, err = span.since(ctx, h, first)
	return span, &clipped{h, first}, err
}

// ServiceAt is [At] for one service: the View holds that service in every cluster, and
// all that decides its answers (clusters with gateways, zone, states and orders). Of
// other services it knows nothing, also not of one whose name comes to the same labels.
// It reads only what it needs.
func ServiceAt(ctx context.Context, h History, m Moment, key registry.ServiceKey) (*registry.View, error) {
	s, err := StoodAt(ctx, h, m, key)
	return s.View, err
}

func serviceAt(ctx context.Context, h History, span Span, m Moment, key registry.ServiceKey) (*folding, error) {
	if !span.Whole() && !proven(h, span, m) {
		if _, err := prove(ctx, h, span, m); err != nil {
			return nil, err
		}
	}
	filters, err := serviceFilters(key)
	if err != nil {
		return nil, err
	}
	f := newFolding(h, m.Sequence)
	decoder := stream.NewStoredDecoder()
	for message, err := range h.Latest(ctx, m.Sequence+1, filters...) {
		if err != nil {
			return nil, fmt.Errorf("%s at #%d: %w", key, m.Sequence, err)
		}
		f.take(decoder.Decode(message))
	}
	if err := f.look(ctx); err != nil {
		return nil, fmt.Errorf("%s at #%d: %w", key, m.Sequence, err)
	}
	return f, nil
}

// anyCluster stands for every cluster in a subject that is made to become a filter.
const anyCluster = "c"

// serviceSubject is the filter for a service in every cluster, or in one.
func serviceSubject(key registry.ServiceKey, cluster registry.ClusterID) (string, error) {
	id := cluster
	if id == "" {
		id = anyCluster
	}
	subject, err := stream.Subject(registry.Fact{Writer: registry.Writer(id), Kind: registry.KindService, Service: key})
	if err != nil {
		return "", err
	}
	if cluster != "" {
		return subject, nil
	}
	return strings.Replace(subject, "."+anyCluster+".", ".*.", 1), nil
}

// serviceFilters are the subjects that decide the answers about a service.
func serviceFilters(key registry.ServiceKey) ([]string, error) {
	subject, err := serviceSubject(key, "")
	if err != nil {
		return nil, err
	}
	root, _, _ := strings.Cut(subject, "*")
	operator, observer := root+string(registry.Operator)+".", root+string(registry.Observer)+"."
	labels := key.Labels()
	return []string{
		subject, root + "*.cluster", root + "*.epoch", operator + "zone", observer + "state.*",
		operator + "order.leave.*", operator + "order.drain.*", operator + "order.drain.*.*",
		operator + "order.drain." + labels.Name + "." + labels.Namespace + ".*",
	}, nil
}
