package edge

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// clock tells the stream's time, of which one moment was read.
type clock struct{ stream, local time.Time }

func (c clock) now() time.Time { return c.stream.Add(time.Since(c.local)) }

// firstHold puts the brake between what the stream believes and the epoch's first reading.
func (l *leader) firstHold(exports *exporter) {
	a := l.agent
	b := newBrake(a.config.Brake, &a.brakes)
	var words []word
	for s := range l.known() {
		if exports.withholds(s.Key) {
			continue // the settings took it away, not the registry
		}
		b.believe(&s)
		if len(exports.origins[s.Key]) == 0 {
			words = append(words, word{key: s.Key})
		}
	}
	_, leave, left := a.orders.standing()
	b.leave(left, leave)
	l.brake, l.outbox.doubt, l.outbox.tells, l.outbox.tell = b, a.intake.outdated, func() bool { return b.tells(l.clock.now()) }, l.tell
	last, noted := l.lastNote()
	b.resume(l.clock.now(), append(words, exports.words()...), last, noted)
}

// hold takes what the registry says of some services, and returns those that stand
// otherwise now although it says nothing new of them.
func (l *leader) hold(touched []registry.ServiceKey) []registry.ServiceKey {
	words := make([]word, len(touched))
	for n, k := range touched {
		words[n] = word{k, l.exports.service(k)}
	}
	return append(l.obey(), l.brake.advance(l.clock.now(), words)...)
}

// holdUnder takes what the registry says under new settings.
func (l *leader) holdUnder(exports *exporter) {
	l.brake.replace(l.clock.now(), exports.words(), exports.mayExport)
}

// obey follows what was ordered, and returns what stands otherwise now, which is marked as decided.
func (l *leader) obey() []registry.ServiceKey {
	decision, leave, left := l.agent.orders.standing()
	obeyed := append(l.brake.leave(left, leave), l.brake.decide(l.clock.now(), decision)...)
	for _, k := range obeyed {
		l.outbox.decide(k, time.Now())
	}
	return obeyed
}

// brakeNow does what is due: it obeys orders, and lets pass whose time is up.
func (l *leader) brakeNow() {
	if l.brake == nil {
		return
	}
	may := l.mayPass() // before obeying, or a decision could come in between
	l.obey()
	if may {
		for _, k := range l.brake.tick(l.clock.now()) {
			l.outbox.mark(k, registry.CauseChange, time.Now())
		}
	}
	if l.lost.holding != l.brake.holding() {
		l.describe(l.exports.current)
		l.outbox.own = registry.CauseChange
	}
}

// mayPass reports whether what is held and overdue may pass. Not while the registry can't
// be read: it may have all of it again and can't say so. And not before it was told what
// stands to a watch of orders that began after the time was up: one that began before
// may have been cut off without noticing, and a rejection be on its way.
func (l *leader) mayPass() bool {
	if !l.brake.overdue(l.clock.now()) || l.agent.intake.latest().fault != nil {
		l.asked = 0
		return false
	}
	if l.asked == 0 {
		l.asked = l.agent.orders.ask()
	}
	return l.agent.orders.heardIn(l.asked)
}

// stands returns what should stand of a service on the stream. What is gone, and was never
// seen there, is missed by nobody.
func (l *leader) stands(k registry.ServiceKey) *registry.Service {
	if l.brake.said(k) == nil && l.outbox.known(k) == nil {
		return nil
	}
	return l.brake.service(k)
}

// brakeDue returns a channel that fires when the brake has something to do.
func (l *leader) brakeDue() <-chan time.Time {
	if l.brake == nil {
		return nil
	}
	at, ok := l.brake.due(l.clock.now())
	switch {
	case !ok:
		l.alarm = nil
	case l.alarm == nil || !at.Equal(l.alarmAt):
		l.alarm, l.alarmAt = time.After(at.Sub(l.clock.now())), at
	}
	return l.alarm
}

// tell makes an event the note that is due. A hold's id is like no other's, so that no
// old decision is taken for one about it.
func (l *leader) tell(e *registry.Event) {
	told := l.brake.tell(l.clock.now(), func(content registry.Digest) string {
		b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(content[:], e.Epoch), e.Revision)
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:6])
	})
	note := told.Note(l.sentence(told))
	e.Note, l.told = &note, registry.Stamp{Epoch: e.Epoch, Revision: e.Revision, Time: e.Time}
	logger := l.agent.config.Logger.With("id", told.ID, "services", told.Services, "instances", told.Instances)
	var until any = "somebody decides"
	if !told.Until.IsZero() {
		until = told.Until
	}
	switch told.State {
	case registry.BrakeHeld:
		logger.Warn("much was deregistered at once: what was known stands until it is back, somebody decides, or time is up",
			"services_before", told.OfServices, "instances_before", told.OfInstances, "until", until)
	case registry.BrakeRejected:
		logger.Warn("what is held back was no truth, somebody says: it stands until the registry has it again", "by", told.By, "reason", told.Reason)
	case registry.BrakeReturned:
		logger.Info("the registry has again what was held back")
	default:
		logger.Warn("what was held back is withdrawn", "why", told.State, "by", told.By, "reason", told.Reason)
	}
}

// sentence tells a person of a brake.
func (l *leader) sentence(b registry.Brake) string {
	what := fmt.Sprintf("%d of %d services (%d of %d instances)", b.Services, b.OfServices, b.Instances, b.OfInstances)
	switch b.State {
	case registry.BrakeHeld:
		until := "until somebody decides"
		if !b.Until.IsZero() {
			until = "until somebody decides, or it passes at " + b.Until.UTC().Format(time.RFC3339)
		}
		return fmt.Sprintf("%s were deregistered within %v: they go on to be answered with, %s (seamark brake approve %s)",
			what, l.agent.config.Brake.Window, until, l.agent.config.Cluster)
	case registry.BrakeRejected:
		return fmt.Sprintf("%s were deregistered and %s rejected it: they stand until the registry has them again", what, b.By)
	case registry.BrakeApproved:
		return fmt.Sprintf("%s are withdrawn: %s approved it", what, b.By)
	case registry.BrakeLeft:
		return what + " are withdrawn: the cluster was ordered to leave"
	case registry.BrakePassed:
		return what + " are withdrawn: nobody decided about them in time, or the settings want no brake"
	}
	return "the registry has again all that was held back"
}

// heldBack is what the lease says of the brake, in ASCII; "" when nothing is held.
func (l *leader) heldBack() string {
	if l.brake == nil || !l.brake.holding() {
		return ""
	}
	b := l.brake.record(l.brake.hold.state)
	until := "stays until somebody decides"
	switch {
	case b.State == registry.BrakeRejected:
		until = "rejected, stands until the registry has it again"
	case !b.Until.IsZero():
		until = "passes at " + b.Until.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("held back: %d of %d services (%d of %d instances) were deregistered; %s; id %s",
		b.Services, b.OfServices, b.Instances, b.OfInstances, until, b.ID)
}

// showBrake puts the brake into the status.
func (l *leader) showBrake(s *Status) {
	s.Brake = registry.Brake{}
	if l.brake != nil && l.brake.holding() {
		s.Brake = l.brake.record(l.brake.hold.state)
	}
	s.Brakes, s.BrakesEnded = l.agent.brakes.begun, maps.Clone(l.agent.brakes.ended)
}

// lostGateways are gateways that the registry no longer lists. While something is held
// back they stand too, or what is held could not be reached.
type lostGateways struct {
	all     map[string]lostGateway
	holding bool // at the last look
}

type lostGateway struct {
	gateway registry.Gateway
	at      time.Time
}

// keepGateways adds to a record the gateways that were lost with what is held back.
func (l *leader) keepGateways(record *registry.ClusterRecord, settings *Settings, snapshot registry.Snapshot) {
	former := l.outbox.wantRecord
	if former == nil {
		former = cmp.Or(l.outbox.record, l.former.record)
	}
	ended := l.lost.holding && !l.brake.holding()
	l.lost.holding = l.brake.holding()
	if settings.FromService == nil || former == nil {
		return
	}
	now, there := l.clock.now(), map[string]bool{}
	for _, g := range record.Gateways {
		there[g.Name] = true
	}
	if service := settings.gatewayService(snapshot); service != nil {
		for _, i := range service.Instances {
			there[registry.Label(i.ID)] = true // perhaps it does not serve: that is no loss
		}
	}
	if l.lost.all == nil {
		l.lost.all = map[string]lostGateway{}
	}
	for _, g := range former.Gateways {
		if _, known := l.lost.all[g.Name]; !known && !there[g.Name] {
			l.lost.all[g.Name] = lostGateway{g, now}
		}
	}
	since := now
	if l.lost.holding {
		since = l.brake.hold.since
	}
	maps.DeleteFunc(l.lost.all, func(name string, g lostGateway) bool {
		return there[name] || ended || since.Sub(g.at) > l.agent.config.Brake.Window
	})
	if !l.lost.holding {
		return
	}
	for _, g := range l.lost.all {
		if len(record.Gateways) < registry.MaxGateways {
			record.Gateways = append(record.Gateways, g.gateway)
		}
	}
	slices.SortFunc(record.Gateways, func(a, b registry.Gateway) int { return compareText(a.Name, b.Name) })
}
