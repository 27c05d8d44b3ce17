package registry

import (
	"fmt"
	"maps"
	"slices"
)

// NoteConfiguration is the kind of the [Note] by which an agent says under which
// configuration it publishes, and the observer under which it decides. There is one when the revision is another than that of
// the last such note.
const NoteConfiguration = "configuration"

// Names in the data of a configuration's note. A field of the configuration has its
// path behind FieldPrefix.
const (
	noteRevision = "revision"
	noteBefore   = "before"
	noteMore     = "more"
	FieldPrefix  = "field."
)

// maxNoteFields leaves room for the names above.
const maxNoteFields = MaxMetaPairs - 4

// Configuration is what others may know of a writer's configuration. The zero value
// tells nothing.
type Configuration struct {
	Revision string            // equal for equal configurations; at most 64 bytes
	Fields   map[string]string // what each field says, by its path; without secrets
}

// Note tells of the configuration: what differs from before where that is known, and
// else what there is. Before is the revision that the history knows, "" for none;
// fields are those of before, nil when they are not known.
func (c Configuration) Note(before string, fields map[string]string) Note {
	n := Note{Kind: NoteConfiguration, Data: map[string]string{noteRevision: clipTo(c.Revision, 64)}}
	if before != "" {
		n.Data[noteBefore] = clipTo(before, 64)
	}
	said := map[string]string{}
	for path, now := range c.Fields {
		switch was, known := fields[path]; {
		case fields == nil:
			said[path] = now
		case !known:
			said[path] = "new: " + now
		case was != now:
			said[path] = was + " → " + now
		}
	}
	for path, was := range fields {
		if _, stands := c.Fields[path]; !stands {
			said[path] = "gone: " + was
		}
	}
	paths := slices.Sorted(maps.Keys(said))
	for _, path := range paths[:min(len(paths), maxNoteFields)] {
		n.Data[clipTo(FieldPrefix+path, MaxMetaKey)] = clipTo(said[path], MaxMetaValue)
	}
	if more := len(paths) - maxNoteFields; more > 0 {
		n.Data[noteMore] = fmt.Sprintf("%d fields are not told", more)
	}
	switch {
	case before == "":
		n.Text = fmt.Sprintf("configuration %s is in force", clipTo(c.Revision, 64))
	case fields == nil:
		n.Text = fmt.Sprintf("configuration %s is in force, before it %s", clipTo(c.Revision, 64), clipTo(before, 64))
	default:
		n.Text = fmt.Sprintf("configuration %s is in force: %d fields differ from %s", clipTo(c.Revision, 64), len(paths), clipTo(before, 64))
	}
	return n
}

// ConfigurationRevision returns the revision that a note tells of; ok is false when it
// is about something else.
func (n Note) ConfigurationRevision() (revision string, ok bool) {
	if n.Kind != NoteConfiguration {
		return "", false
	}
	revision, ok = n.Data[noteRevision]
	return revision, ok
}
