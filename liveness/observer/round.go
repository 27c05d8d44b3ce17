package observer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/liveness"
	"github.com/seamark-mesh/seamark/registry"
)

// finding is what one round finds of one cluster.
type finding struct {
	stands   *registry.StandingState // nil: nothing was said yet, so it counts as up
	present  registry.StateRecord
	next     registry.StateRecord
	uncounts bool // it has left, is drained or is gone: its turn tells nothing of the observer
	overdue  bool // it is up, and its lease has not been renewed for half of the lapse
	recent   bool // it turned away within the last lapse
}

func (f *finding) changed() bool {
	return f.next.State != f.present.State || !slices.Equal(f.next.Failing, f.present.Failing)
}

// away reports whether the cluster would turn away from up.
func (f *finding) away() bool { return f.present.State == registry.Up && f.next.State != registry.Up }

// better reports whether the next state only gives back what was withdrawn.
func (f *finding) better() bool {
	if f.next.State != f.present.State {
		return liveness.Better(f.next.State, f.present.State)
	}
	return !slices.ContainsFunc(f.next.Failing, func(g string) bool { return !slices.Contains(f.present.Failing, g) })
}

// round judges all clusters once and publishes what follows.
func (l *leader) round(ctx context.Context, now time.Time) error {
	v := l.store.View()
	switch epoch := v.Observer().Epoch; {
	case epoch > l.epoch, epoch < l.epoch && l.met: // of another one, or of another stream
		return registry.ErrFenced
	case epoch == l.epoch:
		l.met = true
	}
	findings, clock, why := l.find(v, now)
	if err := l.see(why, now); why != "" || err != nil {
		return err
	}
	if err := l.tellConfiguration(ctx); err != nil { // before what is decided under it
		return err
	}
	events, alarm := l.decide(findings, clock)
	if alarm != nil {
		if err := l.publish(ctx, []*registry.Event{alarm}); err != nil {
			return err
		}
	}
	if err := l.turn(ctx, findings, events); err != nil {
		return err
	}
	if err := l.tell(ctx, now); err != nil {
		return err
	}
	if err := l.repeat(ctx, v, clock); err != nil {
		return err
	}
	l.keepOrders(ctx, v, clock)
	return nil
}

// see notes whether the observer can judge, and since when not.
func (l *leader) see(why string, now time.Time) error {
	if why == "" {
		if l.blind != "" {
			l.config.Logger.Info("the observer can judge", "after", l.blind)
		}
		l.blind, l.blindAt = "", time.Time{}
		l.renewal.say(func(r *renewal) { r.phase = registry.PhaseSynced })
		l.sayBlind("")
		return nil
	}
	clear(l.says) // hold times begin anew
	if l.blindAt.IsZero() {
		l.blindAt = now
	}
	if why != l.blind {
		l.blind = why
		l.sayBlind(why)
	}
	if now.Sub(l.blindAt) > 3*l.config.Timing.Lapse {
		return fmt.Errorf("%w: %s", errBlind, why)
	}
	return nil
}

// find looks at all clusters. Why tells why that is not possible now.
func (l *leader) find(v *registry.View, now time.Time) (findings []*finding, clock time.Time, why string) {
	if why := current(v); why != "" {
		return nil, clock, why
	}
	// Only a View with all that was published shows what stands.
	if o := v.Observer(); o.Epoch != l.epoch || o.Revision < l.revision {
		return nil, clock, fmt.Sprintf("the registry does not hold epoch %d revision %d yet", l.epoch, l.revision)
	}
	settings := *l.settings.Load()
	seen, ok := l.signs.look(now, settings)
	if !ok {
		return nil, clock, "no leases arrive"
	}
	defer seen.done()
	rules := liveness.Rules{DownAfter: settings.DownAfter, Failback: settings.Failback, GoneAfter: l.goneAfter}
	for _, c := range v.Clusters() {
		findings = append(findings, l.findOne(v, seen, c.ID, c, rules))
	}
	for _, s := range v.States() {
		if s.State == registry.Gone {
			findings = append(findings, l.findOne(v, seen, s.Cluster, nil, rules))
		}
	}
	return findings, seen.clock(), ""
}

// findOne judges one cluster; c is nil for one that is gone.
func (l *leader) findOne(v *registry.View, seen sight, id registry.ClusterID, c *registry.ClusterState, rules liveness.Rules) *finding {
	f := &finding{stands: v.State(id), present: registry.StateRecord{Cluster: id, State: registry.Up}}
	if f.stands != nil {
		f.present = f.stands.StateRecord
	}
	lease, unrenewed := seen.leaseOf(id)
	failing, reach, votes := seen.gateways(c, f.present.Failing)
	s := liveness.Signals{Lease: lease, Reach: reach, Silent: seen.silentFor(id, f.stands)}
	if says, ok := liveness.Table(lease, reach); ok {
		if l.says[id].state != says {
			l.says[id] = saying{state: says, since: seen.now}
		}
		s.Held = seen.now.Sub(l.says[id].since)
	} else {
		delete(l.says, id)
		failing = f.present.Failing // while a signal is unknown nothing changes
	}
	f.next = f.present
	f.next.State = liveness.Judge(f.present.State, s, rules)
	if f.next.State == registry.Up || l.says[id].state != registry.Up { // else it is on its way up, and says so all at once
		f.next.Failing = failing
	}
	if f.changed() {
		if f.next.State != f.present.State || f.stands == nil {
			f.next.Since = seen.clock()
		}
		f.next.Reason, f.next.Evidence = liveness.Reason(f.next.State, s), seen.evidence(id, votes)
	}
	f.uncounts = v.Left(id) != nil || v.Drained(id, registry.Labels{}) != nil || f.present.State == registry.Gone
	f.overdue = f.present.State == registry.Up && lease != liveness.LeaseLapsed && unrenewed >= seen.settings.Lapse/2
	f.recent = f.present.State != registry.Up && seen.clock().Sub(f.present.Since) < seen.settings.Lapse
	return f
}

// alarmPause is how often at most the alarm of a mass turn is raised.
const alarmPause = time.Minute

// decide tells which findings are to be published. When more than half of the
// clusters turn, it is none that takes something out of the answers; the first such
// round gives an alarm. A loss that hits all of them does not hit them in the same
// moment: with those that turned just before or whose lease is about to lapse it may
// become one, and then nothing is published until that is known.
func (l *leader) decide(findings []*finding, clock time.Time) (events []*registry.Event, alarm *registry.Event) {
	var turning []registry.ClusterID
	turned, overdue, all := 0, 0, 0
	for _, f := range findings {
		if f.uncounts {
			continue
		}
		all++
		switch {
		case f.away():
			turning = append(turning, f.next.Cluster)
		case f.recent:
			turned++
		case f.overdue:
			overdue++
		}
	}
	mass := liveness.MassTurn(len(turning), all)
	hold := len(turning) > 0 && liveness.MassTurn(len(turning)+turned+overdue, all)
	switch {
	case mass && !l.suspects && clock.Sub(l.alarmed) >= alarmPause:
		l.alarmed = clock
		alarm = l.alarm(AlarmMassTurn, fmt.Sprintf("%d of %d clusters would turn away from up at once: the observer suspects itself and withdraws none of them (%s)",
			len(turning), all, names(turning)), map[string]string{"clusters": names(turning)})
	case l.suspects && !hold:
		l.config.Logger.Warn("no longer do more than half of the clusters turn: the observer trusts itself again")
	}
	l.suspects = mass || l.suspects && hold
	l.setStatus(func(s *Status) { s.Suspects = l.suspects })
	for _, f := range findings {
		if !f.changed() || hold && !f.uncounts && !f.better() {
			f.next = f.present
			continue
		}
		e := l.event(registry.KindState, registry.CauseChange)
		state := f.next
		e.State = &state
		events = append(events, e)
	}
	return events, alarm
}

// maxAtOnce bounds what is published in one go.
const maxAtOnce = 200

// turn publishes transitions.
func (l *leader) turn(ctx context.Context, findings []*finding, events []*registry.Event) error {
	for some := range slices.Chunk(events, maxAtOnce) {
		if err := l.publish(ctx, some); err != nil {
			return err
		}
	}
	for _, f := range findings {
		if !f.changed() {
			continue
		}
		if f.next.State != f.present.State {
			l.config.Metrics.Turned(f.next.Cluster, f.next.State)
		}
		attributes := []any{
			"cluster", string(f.next.Cluster), "from", string(f.present.State), "to", string(f.next.State),
			"reason", f.next.Reason, "failing", f.next.Failing,
		}
		if e := f.next.Evidence; e != nil {
			attributes = append(attributes, "phase", string(e.Phase), "lease_age", e.LeaseAge, "votes", fmt.Sprint(e.Votes))
		}
		l.config.Logger.Info("a cluster has turned", attributes...)
	}
	return nil
}

// noteAlarm is the kind of the note of an alarm.
const noteAlarm = "alarm"

// alarm makes the note of an alarm and says it.
func (l *leader) alarm(kind, text string, data map[string]string) *registry.Event {
	data["kind"] = kind
	l.config.Logger.Error("alarm", "kind", kind, "text", text)
	l.config.Metrics.Alarmed(kind)
	e := l.event(registry.KindNote, registry.CauseChange)
	e.Note = &registry.Note{Kind: noteAlarm, Text: text, Data: data}
	return e
}

// repeat publishes again what has become old, so that it never ages out of the history,
// and what does not stand on this stream.
func (l *leader) repeat(ctx context.Context, v *registry.View, clock time.Time) error {
	if !time.Now().Before(l.epochDue) {
		if err := l.putEpoch(ctx, registry.CauseRefresh, l.fence); err != nil {
			return err
		}
		if err := l.repeatConfiguration(ctx); err != nil {
			return err
		}
	}
	if v.Observer().Revision != l.revision {
		return nil // something was published in this round: what is old can wait for the next
	}
	var events []*registry.Event
	for _, s := range v.States() {
		lost := s.Sequence == 0 // it stood on a stream that this one took the place of
		if !lost && clock.Sub(s.Stored) < l.config.Timing.Refresh || len(events) >= maxAtOnce {
			continue
		}
		cause := registry.CauseRefresh
		if lost {
			cause = registry.CauseResync
		}
		e := l.event(registry.KindState, cause)
		state := s.StateRecord
		e.State = &state
		events = append(events, e)
	}
	return l.publish(ctx, events)
}
