// Package election is what every writer that is elected by a lease does alike: a
// cluster's agent (package edge) and the observer (package observer). It decides when a
// lease that stands may be taken, and how long to wait before the next try. Writing the
// lease, and what its holder does, is the room's that uses it.
//
// What it promises:
//
//   - A lease lapses by the waiting process's own monotonic clock, counted from when it
//     last saw the lease move. Clocks of two machines are never compared; the stream's
//     clock only tells how old a lease already is that is seen for the first time.
//   - Who could not read the lease for a time gives its holder, who was perhaps cut off
//     as well, a full period.
//   - Two processes that were given one name by mistake do not take the lease from each
//     other for ever.
//
// What it does not promise: that there is one holder. Two may believe it for a while; the
// epoch's fence on the stream, not the lease, is what makes one writer of them. Nothing
// here reads or writes anything, and nothing is safe for concurrent use.
package election
