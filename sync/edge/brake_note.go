package edge

import (
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// A note waits until what is held rests, so that a catalogue that goes bit by bit
// gives one note; but not for ever.
const (
	noteRests = time.Second
	noteWaits = 5 * time.Second
)

// record describes what is held, without names.
func (b *brake) record(state registry.BrakeState) registry.Brake {
	h := b.hold
	return registry.Brake{
		ID: h.id, Content: b.content, State: state, Services: len(b.losses), Instances: b.held,
		OfServices: h.of.services, OfInstances: h.of.instances, Since: h.since, Until: h.until, By: h.by, Reason: h.reason,
	}
}

// names returns the first few services of which something is held.
func (b *brake) names() []string {
	keys := sortedKeys(b.losses)
	names := make([]string, 0, registry.MaxBrakeNames)
	for _, k := range keys[:min(len(keys), registry.MaxBrakeNames)] {
		names = append(names, k.String())
	}
	return names
}

// due returns when something is to be done that no word of the registry brings. A hold
// whose time is over and that still stands waits for such a word.
func (b *brake) due(now time.Time) (at time.Time, ok bool) {
	if len(b.closed) > 0 {
		return time.Time{}, true
	}
	h := b.hold
	if h == nil {
		return at, false
	}
	if now.Before(h.until) {
		at = h.until
	}
	if !h.untold.IsZero() {
		note := earliest(h.moved.Add(noteRests), h.untold.Add(noteWaits))
		at = earliest(at, note)
	}
	return at, !at.IsZero()
}

// tells reports whether a note is to be published now.
func (b *brake) tells(now time.Time) bool {
	h := b.hold
	return len(b.closed) > 0 || h != nil && !h.untold.IsZero() && !now.Before(earliest(h.moved.Add(noteRests), h.untold.Add(noteWaits)))
}

// tell returns what the next note says, when there is one. A new hold gets its id from name.
func (b *brake) tell(now time.Time, name func(content registry.Digest) string) registry.Brake {
	if len(b.closed) > 0 {
		told := b.closed[0]
		b.closed = b.closed[1:]
		return told
	}
	h := b.hold
	if h.id == "" {
		h.id = name(b.content)
	}
	h.untold, h.noted = time.Time{}, now
	told := b.record(h.state)
	told.Names = b.names()
	return told
}

// repeat makes an old note due again, so that it does not age out of the history.
func (b *brake) repeat(now time.Time, after time.Duration) {
	if h := b.hold; h != nil && h.untold.IsZero() && now.Sub(h.noted) >= after {
		h.untold, h.moved = now, now.Add(-noteRests)
	}
}
