package edge

import (
	"maps"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Role says whether an agent publishes.
type Role string

// The roles.
const (
	Standby Role = "standby"
	Leader  Role = "leader"
)

// Status is what an agent does at one moment. Counters only grow.
type Status struct {
	Role          Role
	Holder        string // who holds the lease, when somebody else does
	Phase         registry.Phase
	Epoch         uint64
	Revision      uint64
	Keys          int // services on the stream, tombstones included
	Digest        registry.Digest
	Pending       int // services that may differ from the stream
	Gateways      int
	Synced        time.Time // when the stream last held all; zero: not yet
	RegistryKnown bool
	RegistryFault error // why the registry can't be read or trusted; nil when it can
	StreamFault   error // why the stream takes nothing from this agent; nil when it does
	OrdersFault   error // why nothing is heard of what was ordered, for long; nil when it is

	Published map[registry.Cause]uint64 // events acknowledged
	Takeovers uint64
	Truncated uint64 // services cut to the server's limit
	Retries   uint64 // calls to the stream that had to be repeated
	Drifts    uint64 // watches begun anew because a second read did not agree with them
	Holds     uint64 // snapshots held back for a second read

	Brake       registry.Brake                 // what is held back, without names; zero: nothing
	Brakes      uint64                         // how often the brake has begun to hold
	BrakesEnded map[registry.BrakeState]uint64 // … and what became of it; rejected ones end once more
}

// board holds the status: one writer, any number of readers.
type board struct {
	mu     sync.Mutex // guards status
	status Status
}

func (b *board) set(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
}

func (b *board) get() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Published = make(map[registry.Cause]uint64, len(b.status.Published))
	maps.Copy(s.Published, b.status.Published)
	return s
}
