// Package liveness turns signs of life into what the observer says of a cluster. It
// is pure: no clock, no I/O, no memory. Whoever calls it (package observer) brings
// times as durations and what stands on the stream as arguments.
//
//	reports of vantage points ─Weigh→ a verdict per gateway ─Settle→ which fail, Reach
//	the agent's lease, Reach  ─Table→ what the signals say by themselves
//	what stands, the signals, hold times ─Judge→ what shall stand next
//
// What it promises:
//
//   - The same arguments give the same result, and every combination of them gives
//     one: the tests go through the whole input space.
//   - What is not known changes nothing: a lease that was not watched for long enough,
//     reports that are still awaited, a tie between vantage points.
//   - A cluster's own agent has no vote on its gateways, and a vantage point that is
//     alone and sees most gateways fail proves only that it is cut off itself.
//
// What it does not promise: that what it says is published. [MassTurn] tells when it
// must not be.
package liveness
