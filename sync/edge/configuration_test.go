package edge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// configurations returns what the history tells of the configuration after a sequence.
func (w *world) configurations(after uint64) (notes []registry.Note) {
	for _, k := range w.memory.history() {
		if k.sequence > after && k.fact == (registry.Fact{Writer: registry.Writer(cluster), Kind: registry.KindNote, Name: registry.NoteConfiguration}) {
			notes = append(notes, *k.message().Event.Note)
		}
	}
	return notes
}

// The history says under which configuration an agent publishes: once, and again when
// it is another one.
func TestConfigurationIsTold(t *testing.T) {
	w := newWorld(services(2)...)
	w.timing = edge.Timing{Refresh: time.Hour, Compare: time.Minute}
	first := registry.Configuration{Revision: "a", Fields: map[string]string{"region": "eu"}}
	w.settings.Configuration = first
	inWorld(t, w, func(t *testing.T, w *world) {
		want := func(after uint64, want ...registry.Note) {
			t.Helper()
			settle()
			if diff := cmp.Diff(want, w.configurations(after)); diff != "" {
				t.Error(diff)
			}
		}
		a := w.start("one")
		want(0, first.Note("", nil))

		before := w.sequence()
		settings := w.settings
		a.Reload(settings)
		want(before)
		second := registry.Configuration{Revision: "b", Fields: map[string]string{"region": "eu", "zone": "eu-1"}}
		settings.Zone, settings.Configuration = "eu-1", second
		a.Reload(settings)
		want(before, second.Note("a", first.Fields))

		// A successor with the same configuration has nothing to say, one with another has.
		before = w.sequence()
		a.stop()
		w.settings = settings
		b := w.start("two")
		want(before)
		b.stop()
		w.settings.Configuration.Revision = "c"
		w.start("three")
		want(before, w.settings.Configuration.Note("b", nil))

		// It is repeated in full before it ages out.
		before = w.sequence()
		time.Sleep(w.timing.Refresh + 2*w.timing.Compare)
		want(before, w.settings.Configuration.Note("", nil))
	})
}

// While the stream takes nothing, reloads must not heap up.
func TestConfigurationNotesAreBounded(t *testing.T) {
	w := newWorld(services(2)...)
	w.settings.Configuration.Revision = "0"
	inWorld(t, w, func(t *testing.T, w *world) {
		a := w.start("one")
		settle()
		before := w.sequence()
		a.link.set(func(k *link) { k.cut = true })
		for n := range 100 {
			settings := w.settings
			settings.Configuration.Revision = "r" + string(rune('a'+n%26)) + string(rune('a'+n/26))
			a.Reload(settings)
			settle()
		}
		a.link.set(func(k *link) { k.cut = false })
		time.Sleep(time.Minute)
		settle()
		if notes := len(w.configurations(before)); notes == 0 || notes > 20 {
			t.Errorf("%d notes", notes)
		}
	})
}
