package edge

import "github.com/seamark-mesh/seamark/registry"

// maxNotes bounds the notes that wait while the stream takes nothing.
const maxNotes = 16

// heardConfiguration takes what the stream says of the configuration, as an epoch begins.
func (l *leader) heardConfiguration(messages []registry.Message) {
	var heard registry.Configuration
	for _, m := range messages {
		if m.Event == nil || m.Event.Note == nil {
			continue
		}
		if revision, ok := m.Event.Note.ConfigurationRevision(); ok {
			heard.Revision = revision
		}
	}
	if heard.Revision != l.agent.described.Revision {
		l.agent.described = heard // by another agent, or by this one before it was started
	}
}

// tellConfiguration says under which configuration this agent publishes, unless the
// history knows.
func (l *leader) tellConfiguration() {
	known, c := l.agent.described, l.agent.settings.Load().Configuration
	if c.Revision == "" || c.Revision == known.Revision {
		return
	}
	l.outbox.note(c.Note(known.Revision, known.Fields))
	l.agent.described = c
}

// repeatConfiguration says it again in full, before what was said ages out.
func (l *leader) repeatConfiguration() {
	if c := l.agent.settings.Load().Configuration; c.Revision != "" && c.Revision == l.agent.described.Revision {
		l.outbox.note(c.Note("", nil))
	}
}

// note puts one in front of what waits.
func (o *outbox) note(n registry.Note) {
	o.notes = append(o.notes, n)
	o.notes = o.notes[max(0, len(o.notes)-maxNotes):]
}
