package edge

import (
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// BrakeRules say when so much is deregistered that a fault is as likely as the truth,
// although every reading was trusted. Zero fields mean the defaults.
type BrakeRules struct {
	Off       bool          // nothing is ever held
	Share     int           // percent of the services, or of the instances, that may go within Window; 30
	Floor     int           // fewer than so many are never too much; 10
	Window    time.Duration // 1 min
	PassAfter time.Duration // what nobody decides about passes after it; 15 min: time to look, and no ghosts for hours
	Stay      bool          // what nobody decides about stays for ever
}

func (r BrakeRules) withDefaults() BrakeRules {
	if r.Share <= 0 {
		r.Share = 30
	}
	if r.Floor <= 0 {
		r.Floor = 10
	}
	if r.Window <= 0 {
		r.Window = time.Minute
	}
	if r.PassAfter <= 0 {
		r.PassAfter = 15 * time.Minute
	}
	return r
}

// tooMuch reports whether a loss within the window is to be held.
func (r BrakeRules) tooMuch(lost, base tally) bool {
	over := func(lost, base int) bool { return lost >= r.Floor && lost*100 > base*r.Share }
	return over(lost.services, base.services) || over(lost.instances, base.instances)
}

// word is what the registry says of one exported service now; nil: it is gone.
type word struct {
	key     registry.ServiceKey
	service *registry.Service
}

// brake stands between what the registry says and what is published: when too much
// was deregistered within the window, that goes on to stand as it was last known,
// until the registry has it again, somebody decides, or time is up. What is new, and
// every change of what remains, passes at once.
//
// A service has lost instances when it has fewer than it had: replaced ones are no
// loss, and what another service gained makes up for none. What was withdrawn within
// the window before it was too much is part of the same loss and comes back.
//
// It is pure: "now" is an argument, by the stream's clock. One goroutine owns it.
type brake struct {
	rules  BrakeRules
	left   bool                                      // the cluster was ordered to leave: nothing is held
	stands map[registry.ServiceKey]*registry.Service // what should stand on the stream
	listed tally                                     // what the registry lists
	window window

	losses  map[registry.ServiceKey]*loss // what is held
	content registry.Digest               // of losses
	held    int                           // instances in losses
	hold    *hold                         // nil: nothing is held
	closed  []registry.Brake              // ended, and to be told

	counts *brakeCounts
}

// brakeCounts count the holds of an agent.
type brakeCounts struct {
	begun uint64
	ended map[registry.BrakeState]uint64 // by what became of them; what was rejected is counted at its end, too
}

// hold is one change that is held back, from its beginning to its end.
type hold struct {
	id     string // "" until a note told of it
	state  registry.BrakeState
	since  time.Time
	until  time.Time // zero: never
	of     tally     // what the cluster had
	by     string
	reason string
	grew   []string // ids of what it has grown from, the latest maxGrew
	rest   bool     // it is what a takeover found left of it, and little: it passes as soon as it may

	known   map[registry.ServiceKey]time.Time // all of which something was held at any time, and when it came in; zero: with the beginning
	content registry.Digest                   // of what is held, when it was last looked at
	untold  time.Time                         // when the first change came that no note told; zero: none
	moved   time.Time                         // when the last one came
	noted   time.Time                         // when the last note was made
}

// maxGrew bounds the ids of earlier holds that are remembered.
const maxGrew = 64

func newBrake(rules BrakeRules, counts *brakeCounts) *brake {
	return &brake{
		rules: rules, stands: map[registry.ServiceKey]*registry.Service{}, window: newWindow(rules.Window),
		losses: map[registry.ServiceKey]*loss{}, counts: counts,
	}
}

// believe makes stand what was known before the registry's first word.
func (b *brake) believe(s *registry.Service) {
	b.listed.add(s, 1)
	b.stand(s.Key, s)
}

// holding reports whether something is held.
func (b *brake) holding() bool { return b.hold != nil }

// service returns what should stand of a service; nil: nothing.
func (b *brake) service(k registry.ServiceKey) *registry.Service { return b.stands[k] }

// said returns the registry's last word about a service.
func (b *brake) said(k registry.ServiceKey) *registry.Service {
	if l := b.losses[k]; l != nil {
		return l.said
	}
	return b.stands[k]
}

// advance takes the registry's next words. It returns the services, sorted, that
// stand otherwise now although the registry says nothing new of them.
func (b *brake) advance(now time.Time, words []word) (more []registry.ServiceKey) {
	if b.absorb(now, words) {
		more = b.judge(now)
	}
	b.review(now)
	return more
}

// absorb takes words, and reports whether something was lost.
func (b *brake) absorb(now time.Time, words []word) (fell bool) {
	braking := !b.rules.Off && !b.left
	if braking {
		b.window.sample(now, b.listed)
	}
	for _, w := range words {
		before := b.said(w.key)
		if braking && size(w.service) < size(before) {
			fell = true
			if b.losses[w.key] == nil {
				b.window.fell(now, w.key, before)
			}
		}
		b.listed.add(before, -1)
		b.listed.add(w.service, 1)
		b.say(w)
	}
	return fell
}

// say makes a word stand, together with what is held of its service.
func (b *brake) say(w word) {
	was := b.losses[w.key]
	if was == nil {
		b.stand(w.key, w.service)
		return
	}
	b.drop(w.key)
	if size(w.service) >= size(was.base) {
		b.stand(w.key, w.service)
		return
	}
	b.keep(w.key, newLoss(was.base, w.service))
}

func (b *brake) stand(k registry.ServiceKey, s *registry.Service) {
	if s == nil {
		delete(b.stands, k)
		return
	}
	b.stands[k] = s
}

// keep holds a loss.
func (b *brake) keep(k registry.ServiceKey, l *loss) {
	b.drop(k)
	b.losses[k], b.stands[k] = l, l.stands()
	b.content, b.held = b.content.XOR(l.digest), b.held+l.held
}

func (b *brake) drop(k registry.ServiceKey) {
	if l := b.losses[k]; l != nil {
		b.content, b.held = b.content.XOR(l.digest), b.held-l.held
		delete(b.losses, k)
	}
}

// judge holds what was lost within the window when it is too much, or when something
// is held already that nobody has decided about. What goes then with an ordinary change
// is held with it, under the same id and until the same time. What is too much by
// itself, within the window, makes it grow: it is another one, with another id and the
// whole time to decide. A service that comes and goes makes it grow once.
func (b *brake) judge(now time.Time) []registry.ServiceKey {
	lost := b.window.losses(now, b.said)
	base := b.window.base(now)
	waiting := b.hold != nil && b.hold.state == registry.BrakeHeld
	if !waiting && !b.rules.tooMuch(tallyOf(lost), base) {
		return nil
	}
	of, before := base.plus(tallyOf(b.losses)), b.joined(now)
	for k, l := range lost {
		b.keep(k, l)
		if waiting {
			b.hold.join(now, k)
		}
	}
	b.window.clear()
	if !waiting || b.rules.tooMuch(b.joined(now), base.plus(before)) {
		b.begin(now, of, waiting)
	}
	return sortedKeys(lost)
}

// join notes that something of a service is held since now, if nothing ever was.
func (h *hold) join(now time.Time, k registry.ServiceKey) {
	if _, known := h.known[k]; !known {
		h.known[k] = now
	}
}

// joined counts what is held of services that came in within the window.
func (b *brake) joined(now time.Time) tally {
	if b.hold == nil {
		return tally{}
	}
	late := map[registry.ServiceKey]*loss{}
	for k, l := range b.losses {
		if at := b.hold.known[k]; !at.IsZero() && now.Sub(at) <= b.rules.Window {
			late[k] = l
		}
	}
	return tallyOf(late)
}

// begin makes all that is held one hold; grown: in place of another one.
func (b *brake) begin(now time.Time, of tally, grown bool) {
	before := b.hold
	b.hold = &hold{
		state: registry.BrakeHeld, since: now, until: now.Add(b.rules.PassAfter), of: of,
		known: map[registry.ServiceKey]time.Time{}, content: b.content, untold: now, moved: now,
	}
	for k := range b.losses {
		b.hold.known[k] = time.Time{}
	}
	if grown {
		b.hold.of, b.hold.untold = before.of, earliest(before.untold, now)
		for k := range before.known {
			b.hold.known[k] = time.Time{}
		}
		b.hold.grewFrom(before.id, before.grew)
	} else {
		b.counts.begun++
	}
	if b.rules.Stay || before != nil && before.until.IsZero() { // somebody said that a part of it is not the truth
		b.hold.until = time.Time{}
	}
}

// grewFrom remembers what a hold has grown from.
func (h *hold) grewFrom(id string, earlier []string) {
	h.grew = slices.Clone(earlier)
	if id != "" {
		h.grew = append(h.grew, id)
	}
	h.grew = h.grew[max(0, len(h.grew)-maxGrew):]
}

// earliest returns the first of two moments, of which a may be none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// review notes what has become of what is held.
func (b *brake) review(now time.Time) {
	h := b.hold
	switch {
	case h == nil:
	case len(b.losses) == 0:
		b.end(registry.BrakeReturned)
	case b.content != h.content:
		h.content, h.untold, h.moved = b.content, earliest(h.untold, now), now
	}
}

// overdue reports whether something is held whose time is up.
func (b *brake) overdue(now time.Time) bool {
	h := b.hold
	return h != nil && !h.until.IsZero() && (h.rest || !now.Before(h.until))
}

// tick lets pass whose time is up, and returns what stands otherwise now.
func (b *brake) tick(now time.Time) []registry.ServiceKey {
	if b.overdue(now) {
		return b.release(registry.BrakePassed, "", "")
	}
	return nil
}

// decide obeys an order about what is held, if it names that, and returns what stands
// otherwise now.
func (b *brake) decide(now time.Time, o registry.Order) []registry.ServiceKey {
	h := b.hold
	switch {
	case h != nil && o.Decision == registry.Reject && !h.until.IsZero() && slices.Contains(h.grew, o.Held):
		h.until = time.Time{} // a part of it is not the truth: it does not pass by itself
		h.untold, h.moved = now, now.Add(-noteRests)
	case h == nil || h.id == "" || o.Held != h.id:
	case o.Decision == registry.Approve:
		return b.release(registry.BrakeApproved, o.By, o.Reason)
	case o.Decision == registry.Reject && h.state != registry.BrakeRejected:
		h.state, h.until, h.by, h.reason = registry.BrakeRejected, time.Time{}, o.By, o.Reason
		h.untold, h.moved = now, now.Add(-noteRests)
		b.counts.ended[registry.BrakeRejected]++
		b.window.clear()
	}
	return nil
}

// leave obeys the order to leave, or its end, and returns what stands otherwise now.
func (b *brake) leave(left bool, o registry.Order) []registry.ServiceKey {
	b.left = left
	if !left || b.hold == nil {
		return nil
	}
	return b.release(registry.BrakeLeft, o.By, o.Reason)
}

// release withdraws all that is held, and returns it.
func (b *brake) release(state registry.BrakeState, by, reason string) []registry.ServiceKey {
	if b.hold == nil {
		return nil
	}
	released, told := sortedKeys(b.losses), b.record(state)
	told.Names = b.names()
	for k, l := range b.losses {
		b.stand(k, l.said)
	}
	told.By, told.Reason = by, reason
	b.finish(told)
	return released
}

// end is release where nothing is left to withdraw.
func (b *brake) end(state registry.BrakeState) { b.finish(b.record(state)) }

// finish forgets the hold. What no note told of needs none that it is over.
func (b *brake) finish(told registry.Brake) {
	if told.ID != "" {
		b.closed = append(b.closed, told)
	}
	b.counts.ended[told.State]++
	b.hold, b.content, b.held = nil, registry.Digest{}, 0
	clear(b.losses)
	b.window.clear()
}

// replace takes what the registry says under new settings. Of what is held, keeps
// tells what they still let out; what they take away is no loss.
func (b *brake) replace(now time.Time, words []word, keeps func(registry.ServiceKey) bool) {
	held := b.losses
	b.stands, b.losses = map[registry.ServiceKey]*registry.Service{}, map[registry.ServiceKey]*loss{}
	b.listed, b.content, b.held = tally{}, registry.Digest{}, 0
	b.window.clear()
	for _, w := range words {
		b.listed.add(w.service, 1)
		b.stand(w.key, w.service)
	}
	for k, l := range held {
		if said := b.stands[k]; keeps(k) && size(said) < size(l.base) {
			b.keep(k, newLoss(l.base, said))
		}
	}
	if b.hold != nil && len(b.losses) == 0 {
		b.end(registry.BrakePassed)
	}
	b.review(now)
}

func sortedKeys(losses map[registry.ServiceKey]*loss) []registry.ServiceKey {
	keys := make([]registry.ServiceKey, 0, len(losses))
	for k := range losses {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	return keys
}
