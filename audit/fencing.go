package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// reasonFenced is why the fold refuses what a writer stored that had lost its epoch.
const reasonFenced = "fenced"

// fencing knows which messages are void: stored when their writer's epoch was over. It is
// shown the messages of a history in their order, and keeps the records of epochs only.
// One goroutine uses it.
type fencing struct {
	fold   *registry.Fold
	fences map[registry.Writer][]registry.Fence
}

// newFencing goes on from a fold.
func newFencing(f *registry.Fold) *fencing {
	known := &fencing{fold: f, fences: map[registry.Writer][]registry.Fence{}}
	known.learn()
	return known
}

// fencesBefore returns what is known of epochs before a sequence.
func fencesBefore(ctx context.Context, h History, before uint64) (*fencing, error) {
	filter, err := everyEpoch()
	if err != nil {
		return nil, err
	}
	f := newFolding(h, before-1)
	decoder := stream.NewStoredDecoder()
	for s, err := range h.Latest(ctx, before, filter) {
		if err != nil {
			return nil, fmt.Errorf("the epochs before #%d: %w", before, err)
		}
		f.take(decoder.Decode(s))
	}
	if err := f.look(ctx); err != nil && !errors.Is(err, errOnlyGarbage) { // a log shows garbage, it does not fail for it
		return nil, err
	}
	return newFencing(f.fold), nil
}

// everyEpoch is the filter for the epochs' records of all writers.
func everyEpoch() (string, error) {
	subject, err := stream.Subject(registry.Fact{Writer: anyCluster, Kind: registry.KindEpoch})
	return strings.Replace(subject, "."+anyCluster+".", ".*.", 1), err
}

func (f *fencing) learn() {
	v := f.fold.View()
	for _, c := range v.Clusters() {
		f.fences[registry.Writer(c.ID)] = c.Fences
	}
	f.fences[registry.Observer] = v.Observer().Fences
}

// judge returns why a message is void; nil when it is not.
func (f *fencing) judge(m registry.Message) *registry.Refusal {
	if m.Fact.Kind == registry.KindEpoch {
		if out := f.fold.Apply(m); out.Result == registry.Quarantined {
			return refusalOf(m, out)
		}
		f.learn()
		return nil
	}
	for _, fence := range f.fences[m.Fact.Writer] {
		if fence.Epoch > m.Epoch && m.Sequence > fence.Sequence {
			return fenced(m)
		}
	}
	return nil
}

// refusalOf tells why a fold could not use a message.
func refusalOf(m registry.Message, out registry.Outcome) *registry.Refusal {
	switch {
	case m.Refused != nil:
		return m.Refused
	case out.Reason == reasonFenced:
		return fenced(m)
	}
	return &registry.Refusal{Reason: out.Reason, Detail: "there is no room for it: " + out.Reason}
}

func fenced(m registry.Message) *registry.Refusal {
	return &registry.Refusal{Reason: reasonFenced, Detail: fmt.Sprintf("its writer's epoch %d was over when it was stored", m.Epoch)}
}
