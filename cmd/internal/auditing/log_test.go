package auditing

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// three is a history of three messages that nobody can read.
type three struct{ audit.History }

func (three) Span(context.Context) (audit.Span, error) {
	return audit.Span{First: 1, Last: 3, Begin: time.Unix(1, 0), End: time.Unix(3, 0), Began: 1}, nil
}

func (three) Read(_ context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for n := max(r.From, 1); n <= 3 && (r.To == 0 || n <= r.To); n++ {
			if !yield(registry.Stored{Sequence: n, Time: time.Unix(int64(n), 0), Subject: "mesh.v1.amber.epoch"}, nil) {
				return
			}
		}
	}
}

// Latest knows of nothing: no epoch was over.
func (three) Latest(context.Context, uint64, ...string) iter.Seq2[registry.Stored, error] {
	return func(func(registry.Stored, error) bool) {}
}

// With the same text for both ends one took the other's place.
func TestALogOfOneMoment(t *testing.T) {
	t.Parallel()
	var got []uint64
	for e, err := range (Direct{History: three{}, Now: time.Now()}).Log(t.Context(), LogQuestion{Since: "#2", Until: "#2"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Sequence)
	}
	if fmt.Sprint(got) != "[2]" {
		t.Errorf("the log from #2 to #2 has %v", got)
	}
}
