package registry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
)

func held() registry.Brake {
	return registry.Brake{
		ID: "3f9a12bc77de", Content: registry.Digest{1, 2, 3}, State: registry.BrakeHeld,
		Services: 50, Instances: 100, OfServices: 100, OfInstances: 200,
		Since: time.Date(2026, 11, 22, 9, 0, 0, 5, time.UTC), Until: time.Date(2026, 11, 22, 9, 15, 0, 5, time.UTC),
		By: "ada@bridge", Reason: "a fault – not the truth", Names: []string{"default/a", "default/b"},
	}
}

// through sends a note over the stream.
func through(t *testing.T, n registry.Note) registry.Note {
	t.Helper()
	body, err := registry.Encode(&registry.Event{
		Schema: registry.Schema, ID: "amber-1-1-x", Kind: registry.KindNote, Writer: "amber", Epoch: 1, Revision: 1,
		Time: time.Now(), Cause: registry.CauseChange, Note: &n,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := registry.Decode(body)
	if err != nil {
		t.Fatalf("no reader would take the note: %v", err)
	}
	return *e.Note
}

func TestABrakeComesBackFromItsNote(t *testing.T) {
	forEver := held()
	forEver.Until, forEver.By, forEver.Reason, forEver.Names = time.Time{}, "", "", nil
	for name, b := range map[string]registry.Brake{"passes": held(), "stays": forEver} {
		t.Run(name, func(t *testing.T) {
			n := through(t, b.Note("much is held"))
			if n.Text != "much is held" || n.Kind != "brake" {
				t.Errorf("note %q %q", n.Kind, n.Text)
			}
			got, err := registry.ParseBrake(n)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(b, got); diff != "" {
				t.Error(diff)
			}
			if want := map[bool]string{true: "hold", false: "pass"}[b.Until.IsZero()]; n.Data["policy"] != want {
				t.Errorf("policy %q, want %q", n.Data["policy"], want)
			}
		})
	}
}

// Whatever names and reasons are like, the note is one that readers take.
func TestABrakesNoteIsBounded(t *testing.T) {
	b := held()
	b.Reason = strings.Repeat("ä", 2000)
	b.Names = nil
	for n := range 40 {
		b.Names = append(b.Names, fmt.Sprintf("default/%0200d", n))
	}
	got, err := registry.ParseBrake(through(t, b.Note("much")))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Names) != 2 || got.Names[1] != b.Names[1] {
		t.Errorf("%d names, the last %q", len(got.Names), got.Names[len(got.Names)-1])
	}
	if len(got.Reason) > registry.MaxMetaValue || !strings.HasPrefix(b.Reason, got.Reason) || len(got.Reason) < 500 {
		t.Errorf("a reason of %d bytes", len(got.Reason))
	}
}

func TestANoteThatIsNoBrakeIsRefused(t *testing.T) {
	for field, value := range map[string]string{
		"id": "", "state": "", "content": "xyz", "services": "-1", "instances": "many", "of_services": "", "of_instances": "1e9",
		"since": "yesterday", "until": "soon",
	} {
		n := held().Note("")
		n.Data[field] = value
		if b, err := registry.ParseBrake(n); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s=%q gives %+v, %v", field, value, b, err)
		}
	}
	n := held().Note("")
	n.Kind = "refused"
	if _, err := registry.ParseBrake(n); err == nil {
		t.Error("a note of another kind is taken for a brake")
	}
}
