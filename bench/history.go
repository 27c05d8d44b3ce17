package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// A change is told apart by the stages of its way, from the stamps in the history
// of the stream, which is read after the fact: so it costs the measured nothing.
// All clocks are this machine's.

// change is one change of a registry, as bench saw it.
type change struct {
	service   string
	sent      time.Time // before it was sent
	returned  time.Time // when the registry had taken it; zero: not known
	published time.Time // when bench received its event from NATS; zero: it did not listen
	answered  time.Time // when the changed answer arrived
}

// stages of a change's way.
type stages struct {
	accepted samples // sent → the registry has answered
	seen     samples // sent → the agent knows
	prepared samples // the agent knows → the event is made
	stored   samples // the event is made → NATS has stored it
	answered samples // stored → the changed answer arrived
	received samples // the event is made → bench has received it
	resolved samples // bench has received it → the changed answer arrived
	unknown  int     // changes whose event was not found
}

// history reads all service events of a cluster from the stream, by service, in order.
func (s *site) history(ctx context.Context, cluster string) (map[string][]registry.Message, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string][]registry.Message{}
	done := errors.New("read")
	err = conn.Read(ctx, stream.StartAt{Policy: stream.WholeHistory}, func(b stream.Batch) error {
		for _, m := range b.Messages {
			if id, ok := m.Fact.Writer.Cluster(); ok && string(id) == cluster && m.Event != nil && m.Event.Service != nil {
				all[m.Fact.Service.Name] = append(all[m.Fact.Service.Name], m)
			}
		}
		if b.CaughtUp {
			return done
		}
		return nil
	})
	if errors.Is(err, done) {
		err = nil
	}
	return all, err
}

// divide finds each change's event: the first of its service that the agent saw
// while the change was on its way.
func divide(changes []change, history map[string][]registry.Message) stages {
	var st stages
	next := map[string]int{}
	inOrder := func(a, b change) int { return a.sent.Compare(b.sent) }
	for _, c := range slices.SortedFunc(slices.Values(changes), inOrder) {
		events := history[c.service]
		n := next[c.service]
		for n < len(events) && events[n].Event.Service.Seen.Before(c.sent) {
			n++
		}
		next[c.service] = n
		if n == len(events) || events[n].Stored.After(c.answered) {
			st.unknown++
			continue
		}
		e := events[n].Event
		if !c.returned.IsZero() {
			st.accepted = append(st.accepted, c.returned.Sub(c.sent))
		}
		st.seen = append(st.seen, e.Service.Seen.Sub(c.sent))
		st.prepared = append(st.prepared, e.Time.Sub(e.Service.Seen))
		st.stored = append(st.stored, events[n].Stored.Sub(e.Time))
		st.answered = append(st.answered, c.answered.Sub(events[n].Stored))
		if !c.published.IsZero() {
			st.received = append(st.received, c.published.Sub(e.Time))
			st.resolved = append(st.resolved, c.answered.Sub(c.published))
		}
	}
	return st
}

// report adds the stages to a result.
func (st stages) report(r *result, registry string) {
	if len(st.accepted) > 0 {
		r.times("… "+registry+" has taken the change", st.accepted, "", nil)
	}
	r.times("… sent until the agent knows", st.seen, "", nil)
	r.times("… until the event is made", st.prepared, "", nil)
	r.times("… until NATS has stored it", st.stored, "", nil)
	r.times("… until the changed answer arrived", st.answered, "", nil)
	if len(st.received) > 0 {
		r.times("… or: the event is made until bench received it from NATS too", st.received, "", nil)
		r.times("… until the changed answer arrived", st.resolved, "", nil)
	}
	if st.unknown > 0 {
		r.note("The event of %d changes was not found, so their stages are missing.", st.unknown)
	}
}
