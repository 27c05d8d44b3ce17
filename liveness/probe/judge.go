package probe

import "time"

// standing is what is held of a gateway.
type standing uint8

const (
	unknown standing = iota // neither Rise successes nor Fall failures in a row yet
	reached
	failed
)

// judge turns results into a standing. The zero judge knows nothing.
type judge struct {
	standing standing
	since    time.Time // when it turned
	run      int       // equal results in a row that speak against the standing
	good     bool      // what those results were
}

// take counts one result and reports whether the standing has turned.
func (j *judge) take(good bool, rise, fall int, now time.Time) (turned bool) {
	if good && j.standing == reached || !good && j.standing == failed {
		j.run = 0
		return false
	}
	if j.good != good {
		j.good, j.run = good, 0
	}
	j.run++
	next, need := failed, fall
	if good {
		next, need = reached, rise
	}
	if j.run < need {
		return false
	}
	j.standing, j.since, j.run = next, now, 0
	return true
}
