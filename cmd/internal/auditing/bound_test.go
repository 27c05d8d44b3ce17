package auditing

import (
	"testing"

	"github.com/seamark-mesh/seamark/audit"
)

// A comparison by HTTP was as long as two registries are.
func TestADifferenceIsBounded(t *testing.T) {
	d := Difference{Differences: make([]audit.Difference, 5)}
	if d.Bound(5); len(d.Differences) != 5 || d.More != 0 {
		t.Errorf("%d differences, %d more", len(d.Differences), d.More)
	}
	if d.Bound(2); len(d.Differences) != 2 || d.More != 3 {
		t.Errorf("%d differences, %d more", len(d.Differences), d.More)
	}
}
