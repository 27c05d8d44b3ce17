package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// headroom of sequences: a stream that takes the place of another begins so far beyond
// what this replica has read, so that no other replica has read more.
const sequenceHeadroom = 1_000_000

// How a stream that seems to end before what was read is looked at again: what leads
// it may have changed.
const (
	looks     = 3
	lookPause = 500 * time.Millisecond
)

// newLosses counts what became of streams.
func newLosses(metrics prometheus.Registerer) *prometheus.CounterVec {
	losses := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "seamark_stream_losses_total", Help: "Times the stream was not the one that was read, by what became of it: deleted, recreated, cut_short, purged, replaced.",
	}, []string{"kind"})
	for _, kind := range []stream.Loss{stream.Deleted, stream.Recreated, stream.CutShort, stream.Purged, stream.Replaced} {
		losses.WithLabelValues(string(kind))
	}
	metrics.MustRegister(losses)
	return losses
}

// Follow implements [replica.Stream].
func (c *connection) Follow(ctx context.Context, f func(messages []registry.Message, caughtUp bool) error) error {
	c.beginning.Do(func() { close(c.begun) })
	err := c.Conn.Follow(ctx, f)
	if errors.Is(err, stream.ErrStreamChanged) {
		c.losses.WithLabelValues(string(stream.LossOf(err))).Inc()
		return fmt.Errorf("%w: %w", replica.ErrLost, err)
	}
	return err
}

// Contact implements [replica.Recovery].
func (c *connection) Contact() replica.Contact {
	now := c.Conn.Contact()
	return replica.Contact{Connected: now.Connected, Heard: now.Heard, Current: now.Current}
}

// Begin implements [replica.Recovery]: the streams are made where they are missing, and
// the one for events reaches beyond what was read of the one before it.
func (c *connection) Begin(ctx context.Context, known replica.Place) (replica.Beginning, error) {
	if err := c.prepareStreams(ctx, known); err != nil {
		return replica.Beginning{}, err
	}
	state, err := c.end(ctx, known.Sequence)
	if err != nil {
		return replica.Beginning{}, err
	}
	if foreign(known, state) {
		return replica.Beginning{Created: state.Created, Foreign: true}, nil
	}
	begun := replica.Beginning{Created: state.Created, Lost: known.Lost}
	if loss := lossOf(known, state); loss != "" {
		begun.Lost = true
		if !known.Lost {
			c.losses.WithLabelValues(string(loss)).Inc()
		}
	}
	if !begun.Lost || state.Last > known.Sequence {
		return begun, nil
	}
	count, err := c.FillUp(ctx, known.Sequence+1, author())
	if errors.Is(err, stream.ErrTooFar) {
		c.logger.Error("the stream ends so far before what was read that it is not filled up: the answers stand as they are; "+
			"delete both streams, so that they are made with a higher first sequence, or restore a later backup", "ends", state.Last, "read", known.Sequence)
	}
	if err != nil {
		return begun, err
	}
	c.logger.Warn("the stream was filled up, so that the serial does not go back", "messages", count, "ended", state.Last, "read", known.Sequence)
	return begun, nil
}

// Stands implements [replica.Recovery].
func (c *connection) Stands(ctx context.Context, at replica.Place) (bool, error) {
	state, err := c.end(ctx, at.Sequence)
	if err != nil {
		return false, err
	}
	loss := lossOf(at, state)
	if loss != "" {
		c.losses.WithLabelValues(string(loss)).Inc()
	}
	return loss == "", nil
}

// lossOf tells what became of the stream of which a place was known; "" when it stands.
func lossOf(known replica.Place, state stream.State) stream.Loss {
	switch {
	case !known.Created.IsZero() && !state.Created.Equal(known.Created):
		return stream.Recreated
	case state.Last < known.Sequence:
		return stream.CutShort
	}
	return ""
}

// clockAllowance is how far the clocks of NATS servers may be apart, one of which says when
// a stream was made, and another when a message was stored.
const clockAllowance = time.Hour

// foreign reports whether a checkpoint is of another mesh: its stream was alive when the
// one that is there had long been made, which therefore can't have taken its place. It may
// still be one of before, from a backup. Of one that was made later nobody can tell, and one
// that was made to go on where the checkpoint's ended took its place, whatever the clocks say.
func foreign(known replica.Place, s stream.State) bool {
	successor := s.Began > known.Sequence && s.Began <= known.Sequence+2*sequenceHeadroom
	return !successor && !known.Stored.IsZero() && !known.Created.IsZero() && !s.Created.Equal(known.Created) &&
		!slices.ContainsFunc(known.Before, s.Created.Equal) && s.Created.Before(known.Stored.Add(-clockAllowance))
}

// end asks for the stream's state, several times where it seems to be too short.
func (c *connection) end(ctx context.Context, known uint64) (state stream.State, err error) {
	for range looks {
		if state, err = c.State(ctx); err != nil || state.Last >= known {
			return state, err
		}
		timer := time.NewTimer(lookPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return state, context.Cause(ctx)
		case <-timer.C:
		}
	}
	return state, nil
}

// othersPatience is how long a replica that does not know what stood on a lost stream
// leaves it to others to make it anew, and then to write the zone record: they notice the
// loss in that time.
const othersPatience = 10 * time.Second

// leaveStreamToOthers waits, where a stream is missing that was there once, for a replica
// that knows how far it went. That it was there is known from having read it, or from the
// one for leases, which is made after it. It reports whether there is none still.
func (c *connection) leaveStreamToOthers(ctx context.Context, known replica.Place, settings stream.Settings) (lost bool) {
	missing, err := c.CheckStreams(ctx, settings)
	if err != nil {
		return false // who creates finds the same
	}
	events, leases := false, false
	for _, d := range missing {
		events = events || d.Missing && d.Stream == stream.EventsStream
		leases = leases || d.Missing && d.Stream == stream.LeaseStream
	}
	if !events || leases && !known.Lost && known.Created.IsZero() {
		return false
	}
	c.logger.Warn("the stream is missing that was there before, and this replica does not know how far it went: leaving it to others to make it anew, for a while",
		"stream", stream.EventsStream, "patience", othersPatience)
	look := time.NewTicker(lookPause)
	defer look.Stop()
	for deadline := time.Now().Add(othersPatience); time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return true
		case <-look.C:
		}
		if _, err := c.State(ctx); err == nil {
			return false
		}
	}
	return true
}

// leaveZoneToOthers waits, on a stream that was made in another's place, for a replica
// that knows the zone record which stood there: the configuration's is only a seed. Before
// that it waits until it is certain that a checkpoint is not of another mesh.
func (c *connection) leaveZoneToOthers(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.begun:
	}
	look := time.NewTicker(lookPause)
	defer look.Stop()
	for deadline := time.Now().Add(othersPatience); time.Now().Before(deadline) && c.known().Zone() == nil; {
		state, err := c.State(ctx)
		if err != nil || state.Began <= 1 {
			return
		}
		if _, found, err := c.Last(ctx, replica.ZoneFact); err != nil || found {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
