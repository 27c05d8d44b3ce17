package election

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seamark-mesh/seamark/registry"
)

// Vigil is what a standby knows of the lease it waits for. The zero value has not seen it yet.
type Vigil struct {
	sequence uint64        // of the lease when it was last seen to move
	age      time.Duration // of the lease at that moment
	since    time.Time     // when that was, by this process's clock; zero: not seen yet
	blind    bool          // the last try to read it did not succeed
}

// Left returns for how long the lease, as it was read just now, still counts as renewed;
// zero or less: it has lapsed.
func (v *Vigil) Left(at registry.LeaseAt, lapse time.Duration) time.Duration {
	switch {
	case v.since.IsZero() || at.Sequence != v.sequence:
		v.sequence, v.age, v.since = at.Sequence, at.Age, time.Now()
	case v.blind:
		v.age, v.since = 0, time.Now()
	}
	v.blind = false
	return lapse - v.age - time.Since(v.since)
}

// Blind notes that the lease could not be read, or what is read was not to be acted on.
func (v *Vigil) Blind() { v.blind = true }

// Candidate is who wants the lease, under one name, and knows which leases it wrote itself.
type Candidate struct {
	agent   string
	ended   func(agent string) bool
	tried   time.Time // of the lease that it tried to write last; zero: none
	written time.Time // of the last one that was acknowledged
}

// NewCandidate returns a candidate of this name, which should be unique in the mesh. Ended
// reports whether the process that goes by a name has ended for certain, as far as that can
// be proven here; nil: nothing can. It must not block.
func NewCandidate(agent string, ended func(agent string) bool) Candidate {
	if ended == nil {
		ended = func(string) bool { return false }
	}
	return Candidate{agent: agent, ended: ended}
}

// MayTake reports whether the lease, as it was read just now, is free (there is none, its
// holder stopped or has ended, or it was not renewed for as long as lapse) or the candidate's own. Of
// a process that has written none yet, a lease in its name is its predecessor's and its
// own; later only what it wrote itself is.
func (c *Candidate) MayTake(at registry.LeaseAt, v *Vigil, lapse time.Duration) bool {
	own := at.Lease.Agent == c.agent && (c.tried.IsZero() || at.Lease.Time.Equal(c.tried) || at.Lease.Time.Equal(c.written))
	return v.Left(at, lapse) <= 0 || !at.Found || at.Lease.Phase == registry.PhaseStopped || own || c.ended(at.Lease.Agent)
}

// Put gives the lease the candidate's name and the time, makes its detail one that every
// reader accepts, and hands it to put, which writes it. It returns what put does.
func (c *Candidate) Put(l registry.Lease, put func(registry.Lease) (sequence uint64, err error)) (sequence uint64, err error) {
	c.tried = time.Now().UTC()
	l.Agent, l.Time, l.Detail = c.agent, c.tried, clipText(l.Detail, maxDetail)
	if sequence, err = put(l); err == nil {
		c.written = c.tried
	}
	return sequence, err
}

// maxDetail bounds what a lease says in words, in bytes.
const maxDetail = 1024

// clipText makes a text, often an error's, short and printable.
func clipText(s string, most int) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c >= 0x7f {
			b[i] = ' '
		}
	}
	return string(b[:min(len(b), most)])
}

// NewBackoff returns growing pauses from 100 ms up to longest. They are jittered, so that
// those who lost the same thing do not come back in the same moment; steady ones are
// not, so that a simulation can be replayed.
func NewBackoff(longest time.Duration, steady bool) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = min(100*time.Millisecond, longest), longest, 2
	if steady {
		b.RandomizationFactor = 0
	}
	return b
}

// Pause waits. It returns false as soon as ctx has ended.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
