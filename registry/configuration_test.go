package registry_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
)

func TestConfigurationNote(t *testing.T) {
	t.Parallel()
	c := registry.Configuration{Revision: "b", Fields: map[string]string{"region": "eu", "export.default": "none", "zone": "eu-1"}}
	for name, tt := range map[string]struct {
		before string
		fields map[string]string
		data   map[string]string
		text   string
	}{
		"nothing is known": {
			data: map[string]string{"revision": "b", "field.region": "eu", "field.export.default": "none", "field.zone": "eu-1"},
			text: "configuration b is in force",
		},
		"another agent's": {
			before: "a", text: "configuration b is in force, before it a",
			data: map[string]string{"revision": "b", "before": "a", "field.region": "eu", "field.export.default": "none", "field.zone": "eu-1"},
		},
		"its own": {
			before: "a", fields: map[string]string{"region": "us", "export.default": "none", "labels.tier": "prod"},
			text: "configuration b is in force: 3 fields differ from a",
			data: map[string]string{"revision": "b", "before": "a", "field.region": "us → eu", "field.zone": "new: eu-1", "field.labels.tier": "gone: prod"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := c.Note(tt.before, tt.fields)
			if diff := cmp.Diff(registry.Note{Kind: "configuration", Text: tt.text, Data: tt.data}, n); diff != "" {
				t.Error(diff)
			}
			if revision, ok := n.ConfigurationRevision(); !ok || revision != "b" {
				t.Errorf("it tells of revision %q, %v", revision, ok)
			}
		})
	}
	if revision, ok := (registry.Note{Kind: "alarm", Data: map[string]string{"revision": "b"}}).ConfigurationRevision(); ok {
		t.Errorf("an alarm tells of the configuration %q", revision)
	}
}

// Whatever a configuration has, its note is one that readers accept.
func TestConfigurationNoteIsBounded(t *testing.T) {
	t.Parallel()
	c := registry.Configuration{Revision: strings.Repeat("ü", 5000), Fields: map[string]string{}}
	for n := range 500 {
		c.Fields[strings.Repeat("ü", n)+strconv.Itoa(n)] = strings.Repeat("ü", 5000)
	}
	note := c.Note(strings.Repeat("ü", 5000), nil)
	e := &registry.Event{
		Schema: registry.Schema, ID: "amber-1-1-x", Kind: registry.KindNote, Writer: "amber", Epoch: 1, Revision: 1,
		Time: time.Now().UTC(), Cause: registry.CauseChange, Note: &note,
	}
	body, err := registry.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Decode(body); err != nil {
		t.Error(err)
	}
	if len(note.Data) < 60 || note.Data["more"] == "" {
		t.Errorf("%d fields are told, %q", len(note.Data), note.Data["more"])
	}
}
