package observer

import (
	"context"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Log is the writer's end of the stream, for [registry.Observer]. Every call is
// bounded in time; an error that is neither [registry.ErrConflict] nor
// [registry.ErrFenced] leaves open whether the call took effect, and the same call
// may be made again. Publish and PutLease are called by one goroutine each.
type Log interface {
	// ReadLease returns the observer's lease as it stands.
	ReadLease(ctx context.Context) (registry.LeaseAt, error)
	// PutLease replaces the lease whose message has the sequence expect (0: none
	// stands) and returns the new sequence, or ErrConflict.
	PutLease(ctx context.Context, l registry.Lease, expect uint64) (sequence uint64, err error)
	// Now returns the stream's clock.
	Now(ctx context.Context) (time.Time, error)
	// Last returns the last message of a fact, of whatever writer.
	Last(ctx context.Context, fact registry.Fact) (m registry.Message, found bool, err error)
	// PutEpoch stores an epoch record after the one whose sequence is expect (0: none
	// stands), or returns ErrConflict. The same event given again after an error
	// returns the sequence it was stored with.
	PutEpoch(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error)
	// Publish stores events in their order, each only if the epoch record with the
	// sequence fence is still the latest, else it returns ErrFenced. After any other
	// error the identical events are given again: what was stored is not stored twice.
	Publish(ctx context.Context, events []*registry.Event, fence uint64) (stored []*registry.Event, err error)
}

// Signs are the signs of life.
type Signs interface {
	// WatchLeases calls f for the lease of every writer as it stands, then for each new
	// one in the order in which they are stored, until ctx ends. Stored is by the
	// stream's clock, received by this process's.
	WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error
	// WatchProbes does the same for what the vantage points report.
	WatchProbes(ctx context.Context, f func(r registry.ProbeReport, stored, received time.Time)) error
}

// Orders are the operator's orders.
type Orders interface {
	// PutOrder stores an order in place of the one whose message has the sequence
	// expect, or returns ErrConflict. By is who writes it.
	PutOrder(ctx context.Context, o registry.Order, by string, cause registry.Cause, expect uint64) (sequence uint64, err error)
	// LastOrder returns the order that stands for a kind and target, with its message.
	LastOrder(ctx context.Context, kind, target string) (o registry.Order, m registry.Message, found bool, err error)
}

// History tells how long the stream keeps what is stored.
type History interface {
	// HistoryAge returns the age at which messages are dropped; 0: they are kept.
	HistoryAge(ctx context.Context) (time.Duration, error)
}

// Stream is the readers' end of the stream.
type Stream interface {
	Signs
	Orders
	History
}

// Metrics are told what happens. The methods must not block; they are called from
// one goroutine.
type Metrics interface {
	// Turned is called when a cluster's transition is stored.
	Turned(cluster registry.ClusterID, to registry.Liveness)
	// Alarmed is called for each alarm, see the Alarm constants.
	Alarmed(kind string)
}

// The kinds of alarm: the field kind of a note of kind "alarm".
const (
	AlarmMassTurn       = "mass_turn"       // more than half of the clusters would turn: nothing is withdrawn
	AlarmMassWithdrawal = "mass_withdrawal" // a cluster withdrew many services without a brake's record
)
