package e2e

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// history reads the whole stream, in order.
func (m *mesh) history(t *testing.T) []registry.Message {
	t.Helper()
	return m.readStream(t, stream.WholeHistory)
}

func (m *mesh) readStream(t *testing.T, start stream.Start) []registry.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn := m.connection(ctx, t)
	defer conn.Close()
	var all []registry.Message
	done := errors.New("read")
	err := conn.Read(ctx, stream.StartAt{Policy: start}, func(b stream.Batch) error {
		all = append(all, b.Messages...)
		if b.CaughtUp {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	return all
}

// audit checks what must hold for every history: within an epoch the revisions
// are 1, 2, 3 … without a gap; epochs only grow, and nothing of an older one
// stands after a newer one's record; nothing is quarantined; and the last message
// of each fact folds to the same View as all of them.
func (m *mesh) audit(t *testing.T) []registry.Message {
	t.Helper()
	all := m.history(t)
	type place struct{ epoch, revision uint64 }
	at := map[registry.Writer]place{}
	whole := registry.NewFold()
	for _, message := range all {
		if out := whole.Apply(message); out.Result == registry.Quarantined {
			t.Errorf("sequence %d is quarantined: %v", message.Sequence, message.Refused)
		}
		if _, own := message.Fact.Writer.Cluster(); !own {
			continue
		}
		last := at[message.Fact.Writer]
		next := place{message.Epoch, message.Revision}
		switch {
		case next.epoch < last.epoch:
			t.Errorf("sequence %d of %s has epoch %d after %d", message.Sequence, message.Fact.Writer, next.epoch, last.epoch)
		case next.epoch > last.epoch && (next.revision != 1 || message.Fact.Kind != registry.KindEpoch):
			t.Errorf("epoch %d of %s begins with revision %d, a %s", next.epoch, message.Fact.Writer, next.revision, message.Fact.Kind)
		case next.epoch == last.epoch && next.revision != last.revision+1:
			t.Errorf("sequence %d of %s has revision %d after %d", message.Sequence, message.Fact.Writer, next.revision, last.revision)
		}
		at[message.Fact.Writer] = next
	}
	latest := registry.NewFold()
	for _, message := range m.readStream(t, stream.LastPerSubject) {
		latest.Apply(message)
	}
	if v := whole.View(); latest.View().Sequence() == v.Sequence() && !bytes.Equal(v.AppendCanonical(nil), latest.View().AppendCanonical(nil)) {
		t.Error("the whole history and the last message of each fact give different zones")
	}
	return all
}

// events returns what was published about one service of a cluster.
func events(all []registry.Message, cluster, namespace, name string) []*registry.Event {
	var found []*registry.Event
	for _, m := range all {
		if m.Fact.Kind == registry.KindService && m.Fact.Writer == registry.Writer(cluster) && m.Fact.Service == (registry.ServiceKey{Namespace: namespace, Name: name}) {
			found = append(found, m.Event)
		}
	}
	return found
}

// epochs counts the takeovers of a cluster.
func epochs(all []registry.Message, cluster string) int {
	seen := map[uint64]bool{}
	for _, m := range all {
		if m.Fact.Kind == registry.KindEpoch && m.Fact.Writer == registry.Writer(cluster) {
			seen[m.Epoch] = true
		}
	}
	return len(seen)
}
