package auditing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Asker answers questions. Points of time are given as [audit.ParseWhen] reads them; ""
// for a moment is the end of the history. An error that is the question's own fault
// [IsQuestion] tells.
type Asker interface {
	// Log yields entries, in the order of the stream.
	Log(ctx context.Context, q LogQuestion) iter.Seq2[audit.Entry, error]
	// At tells what stood, of one service or (zero key) of all.
	At(ctx context.Context, at string, key registry.ServiceKey) (Standing, error)
	// Diff tells what differs between two moments, of one service or (zero key) of all.
	Diff(ctx context.Context, from, to string, key registry.ServiceKey) (Difference, error)
	// Blame tells where everything in a service's answer comes from.
	Blame(ctx context.Context, at string, key registry.ServiceKey) (Blame, error)
	// Resolve tells what DNS would have answered.
	Resolve(ctx context.Context, at, name, rrtype string) (Resolution, error)
}

// LogQuestion says which entries are wanted; the zero one, all.
type LogQuestion struct {
	Cluster registry.ClusterID
	Service registry.ServiceKey
	Kinds   []audit.Kind
	Since   string
	Until   string
	Follow  bool
	Limit   int  // 0: all
	Newest  bool // the last Limit entries, not the first
}

// Moment is a point of the history: the state after this message.
type Moment struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"` // that was asked for, or when the message was stored
}

func momentOf(m audit.Moment) Moment { return Moment{m.Sequence, m.Time.UTC()} }

// String is a moment for a person.
func (m Moment) String() string {
	return fmt.Sprintf("%s (#%d)", m.Time.UTC().Format("2006-01-02 15:04:05.000 MST"), m.Sequence)
}

// questionError marks what is wrong with a question, not with answering it.
type questionError struct{ err error }

func (q *questionError) Error() string { return q.err.Error() }
func (q *questionError) Unwrap() error { return q.err }

func question(err error) error {
	if err == nil {
		return nil
	}
	return &questionError{err}
}

// IsQuestion reports whether an error says what is wrong with the question.
func IsQuestion(err error) bool {
	var q *questionError
	return errors.As(err, &q)
}

// ErrUnknown says that no cluster had registered a service at the moment.
var ErrUnknown = errors.New("no cluster knew it")

// ParseKey reads NAMESPACE/NAME, or NAME in the namespace default.
func ParseKey(text string) (registry.ServiceKey, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok {
		namespace, name = registry.DefaultNamespace, text
	}
	key, err := registry.ParseServiceKey(namespace, name)
	if err != nil {
		return key, question(fmt.Errorf("%.128q names no service (write NAMESPACE/NAME): %w", text, err))
	}
	return key, nil
}

// ParseKinds reads kinds of entries; the error lists them.
func ParseKinds(texts []string) ([]audit.Kind, error) {
	kinds := make([]audit.Kind, 0, len(texts))
	for _, text := range texts {
		kind, err := audit.ParseKind(text)
		if err != nil {
			return nil, question(err)
		}
		kinds = append(kinds, kind)
	}
	return slices.Compact(kinds), nil
}

// Direct asks a History itself.
type Direct struct {
	History audit.History
	Now     time.Time // when it is asked, in the zone of who asks
}

var _ Asker = Direct{}

// When reads a point of time; "" is the end of the history.
func (d Direct) When(text string) (audit.When, error) {
	if text == "" {
		text = "now"
	}
	when, err := audit.ParseWhen(text, d.Now)
	return when, question(err)
}

// Moment reads a point of time and finds it in the history.
func (d Direct) Moment(ctx context.Context, text string) (audit.Moment, error) {
	when, err := d.When(text)
	if err != nil {
		return audit.Moment{}, err
	}
	return audit.Resolve(ctx, d.History, when)
}

// Log implements [Asker].
func (d Direct) Log(ctx context.Context, q LogQuestion) iter.Seq2[audit.Entry, error] {
	query := audit.Query{Cluster: q.Cluster, Service: q.Service, Kinds: q.Kinds, Follow: q.Follow, Limit: q.Limit, Newest: q.Newest}
	for _, bound := range []struct {
		text string
		when *audit.When
	}{{q.Since, &query.Since}, {q.Until, &query.Until}} {
		if bound.text == "" {
			continue
		}
		when, err := d.When(bound.text)
		if err != nil {
			return func(yield func(audit.Entry, error) bool) { yield(audit.Entry{}, err) }
		}
		*bound.when = when
	}
	return audit.Log(ctx, d.History, query)
}

// Unused counts what an answer passed over: facts whose latest message can't be used, so
// that an older one stands, or none. The first of these messages is told.
type Unused struct {
	Facts    int    `json:"facts"`
	Sequence uint64 `json:"sequence"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
}

// unusedOf is nil where nothing was passed over.
func unusedOf(all []audit.Unused) *Unused {
	if len(all) == 0 {
		return nil
	}
	return &Unused{Facts: len(all), Sequence: all[0].Sequence, Reason: all[0].Reason, Detail: all[0].Detail}
}

// At implements [Asker].
func (d Direct) At(ctx context.Context, at string, key registry.ServiceKey) (Standing, error) {
	m, err := d.Moment(ctx, at)
	if err != nil {
		return Standing{}, err
	}
	stood, err := audit.StoodAt(ctx, d.History, m, key)
	if err != nil {
		return Standing{}, err
	}
	return standing(stood, m, key)
}

// Difference is the answer to [Asker.Diff].
type Difference struct {
	From        Moment             `json:"from"`
	To          Moment             `json:"to"`
	Differences []audit.Difference `json:"differences"`
	// More counts differences that were left out because the answer is bounded.
	More   int     `json:"more,omitempty"`
	Unused *Unused `json:"unused,omitempty"` // at one of the moments
}

// Bound leaves at most limit differences in the answer.
func (d *Difference) Bound(limit int) {
	if len(d.Differences) > limit {
		d.Differences, d.More = d.Differences[:limit], len(d.Differences)-limit
	}
}

// Diff implements [Asker].
func (d Direct) Diff(ctx context.Context, from, to string, key registry.ServiceKey) (Difference, error) {
	var moments [2]audit.Moment
	var views [2]*registry.View
	var unused []audit.Unused
	for n, text := range []string{from, to} {
		m, err := d.Moment(ctx, text)
		if err != nil {
			return Difference{}, err
		}
		moments[n] = m
	}
	if moments[0].Sequence > moments[1].Sequence {
		return Difference{}, question(fmt.Errorf("%s is after %s: give the earlier moment first", momentOf(moments[0]), momentOf(moments[1])))
	}
	for n, m := range moments {
		stood, err := audit.StoodAt(ctx, d.History, m, key)
		if err != nil {
			return Difference{}, err
		}
		views[n] = stood.View
		for _, u := range stood.Unused {
			if !slices.Contains(unused, u) {
				unused = append(unused, u)
			}
		}
	}
	out := Difference{From: momentOf(moments[0]), To: momentOf(moments[1]), Differences: audit.Diff(views[0], views[1]), Unused: unusedOf(unused)}
	if key != (registry.ServiceKey{}) {
		out.Differences = slices.DeleteFunc(out.Differences, func(d audit.Difference) bool { return d.Service != nil && *d.Service != key })
	}
	if out.Differences == nil {
		out.Differences = []audit.Difference{}
	}
	return out, nil
}

// Blame is the answer to [Asker.Blame].
type Blame struct {
	At      Moment         `json:"at"`
	Service string         `json:"service"` // NAMESPACE/NAME
	Origins []audit.Origin `json:"origins"`
	Unused  *Unused        `json:"unused,omitempty"`
}

// Blame implements [Asker].
func (d Direct) Blame(ctx context.Context, at string, key registry.ServiceKey) (Blame, error) {
	m, err := d.Moment(ctx, at)
	if err != nil {
		return Blame{}, err
	}
	stood, err := audit.StoodAt(ctx, d.History, m, key)
	if err != nil {
		return Blame{}, err
	}
	if _, err := standing(stood, m, key); err != nil { // nobody knew it
		return Blame{}, err
	}
	origins, err := audit.Blame(ctx, d.History, stood, key)
	return Blame{At: momentOf(m), Service: key.String(), Origins: append([]audit.Origin{}, origins...), Unused: unusedOf(stood.Unused)}, err
}
