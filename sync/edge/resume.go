package edge

import (
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// resume takes the first words after a takeover, where what the stream believes
// stands, and the last note; noted is zero where the stream has lost that. The same
// loss goes on to be held under the same id, and for no longer than it was said. What
// is left of a loss that was rejected does so, too. Where a little more went it gets
// another id, for nobody has decided about that, and no new time but a moment in which
// somebody may. What is left and too little to be held by itself passes once it is known
// that nobody has rejected it.
func (b *brake) resume(now time.Time, words []word, last registry.Brake, noted time.Time) {
	b.absorb(now, words)
	lost := b.window.losses(now, b.said)
	brakes, open := len(lost) > 0 && !b.rules.Off && !b.left, last.State.Open()
	switch {
	case brakes && open && b.goesOn(now, lost, last):
		b.goOn(now, lost, last, noted)
		return
	case brakes:
		more := open && b.littleMore(now, lost, last)
		if b.judge(now); b.hold != nil {
			if open {
				b.hold.grewFrom(last.ID, nil)
			}
			switch {
			case open && last.Until.IsZero():
				b.hold.until = time.Time{}
			case more && !b.hold.until.IsZero():
				b.hold.since, b.hold.of = last.Since, tally{last.OfServices, last.OfInstances}
				soonest := now.Add(b.rules.Window) // it has another id: an order about it is to have time to come
				if last.Until.After(soonest) {
					soonest = last.Until
				}
				b.hold.until = earliest(b.hold.until, soonest)
			}
			return
		}
		if open {
			b.goOn(now, lost, last, noted)
			b.hold.rest = true
			return
		}
	}
	if open {
		last.State = registry.BrakeReturned
		switch {
		case b.left:
			last.State = registry.BrakeLeft
		case len(lost) > 0 || b.rules.Off:
			last.State = registry.BrakePassed
		}
		b.closed = append(b.closed, last)
	}
}

// goesOn reports whether what is lost at a takeover is what the last note tells of: all
// of it, or, where that was rejected, what is left of it. Little that went with it is
// not told apart and stands; much is for somebody to decide.
func (b *brake) goesOn(now time.Time, lost map[registry.ServiceKey]*loss, last registry.Brake) bool {
	content, held := registry.Digest{}, 0
	for _, l := range lost {
		content, held = content.XOR(l.digest), held+l.held
	}
	if content == last.Content {
		return true
	}
	return last.State == registry.BrakeRejected &&
		(held <= last.Instances || !b.rules.tooMuch(tallyOf(lost), b.window.base(now)))
}

// littleMore reports whether what is lost at a takeover is, by all that can be told, what
// the last note tells of and so little besides that it would not be held by itself.
func (b *brake) littleMore(now time.Time, lost map[registry.ServiceKey]*loss, last registry.Brake) bool {
	held, named := 0, 0
	for k, l := range lost {
		if held += l.held; slices.Contains(last.Names, k.String()) {
			named++
		}
	}
	more := tally{len(lost) - last.Services, held - last.Instances}
	return named == len(last.Names) && more.services >= 0 && more.instances >= 0 && !b.rules.tooMuch(more, b.window.base(now))
}

// goOn holds what is lost as the last note tells.
func (b *brake) goOn(now time.Time, lost map[registry.ServiceKey]*loss, last registry.Brake, noted time.Time) {
	b.hold = &hold{
		id: last.ID, state: last.State, since: last.Since, until: last.Until, of: tally{last.OfServices, last.OfInstances},
		by: last.By, reason: last.Reason, known: map[registry.ServiceKey]time.Time{}, noted: noted,
	}
	for k, l := range lost {
		b.keep(k, l)
		b.hold.known[k] = time.Time{}
	}
	b.hold.content = b.content
	if noted.IsZero() || b.content != last.Content {
		b.hold.untold, b.hold.moved = now, now
	}
	if most := now.Add(b.rules.PassAfter); last.Until.After(most) {
		b.hold.until = most
	}
	b.window.clear()
}
