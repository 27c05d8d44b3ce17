package stream

import (
	"math"
	"math/rand/v2"
	"time"
)

// How long is waited between two rounds through the servers while none can be reached. It
// grows so slowly that it stays a small part of the outage: what was away for less than
// half a minute is found again within two seconds.
const (
	shortestDelay = 100 * time.Millisecond
	longestDelay  = 2500 * time.Millisecond
	delayGrowth   = 1.04
)

// reconnectDelay returns how long to wait before the servers are tried for the nth time,
// from 1 on, since the connection was lost: once to twice what is due, so that those who
// lost it together do not come back together.
func reconnectDelay(n int) time.Duration {
	due := min(float64(shortestDelay)*math.Pow(delayGrowth, float64(n-1)), float64(longestDelay))
	return time.Duration(due * (1 + rand.Float64()))
}
