package observer

import (
	"context"

	"github.com/seamark-mesh/seamark/registry"
)

// tellConfiguration says under which configuration this observer decides, unless the
// history knows. It asks the stream once, after each takeover.
func (l *leader) tellConfiguration(ctx context.Context) error {
	c := l.settings.Load().Configuration
	if c.Revision == "" {
		return nil
	}
	if !l.heard {
		if err := l.hearConfiguration(ctx); err != nil {
			return err
		}
	}
	if c.Revision == l.described.Revision {
		return nil
	}
	if err := l.noteConfiguration(ctx, c.Note(l.described.Revision, l.described.Fields)); err != nil {
		return err
	}
	l.described = c
	return nil
}

// hearConfiguration takes what the stream says of it.
func (l *leader) hearConfiguration(ctx context.Context) error {
	var heard registry.Configuration
	fact := registry.Fact{Writer: registry.Observer, Kind: registry.KindNote, Name: registry.NoteConfiguration}
	err := l.insist(ctx, func() error {
		m, found, err := l.log.Last(ctx, fact)
		if found && m.Event != nil && m.Event.Note != nil {
			heard.Revision, _ = m.Event.Note.ConfigurationRevision() // "": it tells of none
		}
		return err
	})
	if err != nil {
		return err
	}
	if heard.Revision != l.described.Revision {
		l.described = heard // by another observer, or by this one before it was started
	}
	l.heard = true
	return nil
}

// repeatConfiguration says it again in full, before what was said ages out.
func (l *leader) repeatConfiguration(ctx context.Context) error {
	c := l.settings.Load().Configuration
	if c.Revision == "" || c.Revision != l.described.Revision {
		return nil
	}
	return l.noteConfiguration(ctx, c.Note("", nil))
}

func (l *leader) noteConfiguration(ctx context.Context, n registry.Note) error {
	e := l.event(registry.KindNote, registry.CauseChange)
	e.Note = &n
	return l.publish(ctx, []*registry.Event{e})
}
