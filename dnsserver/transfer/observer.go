package transfer

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Kind is what was asked for, or sent.
type Kind string

// The kinds.
const (
	AXFR   Kind = "axfr"
	IXFR   Kind = "ixfr"
	Notify Kind = "notify"
)

// Result is what became of a transfer or a NOTIFY. A transfer that was sent as a
// whole has its [Shape] as the result.
type Result string

// The other results.
const (
	Refused    Result = "refused"    // the client may not have the zone
	Busy       Result = "busy"       // too many run at the same time: SERVFAIL
	Failed     Result = "failed"     // the client left, did not read, or took too long
	Stopped    Result = "stopped"    // this server ended meanwhile
	NotReady   Result = "not-ready"  // there is no zone yet: SERVFAIL
	Answered   Result = "answered"   // a secondary took note
	Rejected   Result = "rejected"   // a secondary answered with an error
	Unanswered Result = "unanswered" // a secondary did not answer in time
)

// Observer counts transfers. Its method is called by any number of goroutines and
// must not block; its arguments come from the sets above.
type Observer interface {
	Transferred(kind Kind, result Result)
}

// Refusals logs clients that were refused: one line at once, and at most one in ten
// seconds, which says how many there were. The zero Refusals is ready; it may be
// used by any number of goroutines.
type Refusals struct {
	mu     sync.Mutex // guards the fields below
	last   time.Time
	unsaid int
}

// refusalPause keeps strangers from filling the disk.
const refusalPause = 10 * time.Second

// Log notes that a client was refused, at a moment.
func (r *Refusals) Log(log *slog.Logger, kind Kind, client netip.Addr, why string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.last) < refusalPause {
		r.unsaid++
		return
	}
	log.Warn("zone transfer refused", "kind", string(kind), "client", client.String(), "reason", why, "unsaid", r.unsaid)
	r.last, r.unsaid = now, 0
}

// Slots bounds how many transfers run at one time. The zero Slots is ready; it may be
// used by any number of goroutines.
type Slots struct {
	mu    sync.Mutex // guards taken
	taken int
}

// Take takes one of so many slots, and reports whether there was one.
func (s *Slots) Take(atOnce int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= atOnce {
		return false
	}
	s.taken++
	return true
}

// Free gives a slot back.
func (s *Slots) Free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
}
