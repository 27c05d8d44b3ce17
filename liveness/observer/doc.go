// Package observer is the one that decides of clusters: whether they are up,
// unreachable, stale, down or gone (package liveness says when), and when drains end.
// It runs in every global-dns; one of them leads.
//
// What it promises:
//
//   - One writer. It takes the lease of [registry.Observer] and begins an epoch like
//     an agent, and everything it publishes is fenced by that epoch: of two that both
//     believe to lead, the loser's messages are refused by the server or void for all
//     readers.
//   - It has no memory of what it said: what stands is what the View says, and it
//     judges only a View that holds all it has published. So a successor repeats
//     nothing and loses nothing; only the hold times begin anew.
//   - Ages are by its own monotonic clock, and count only while leases arrive. After a
//     pause (disconnected, stopped, catching up) they begin anew, and nothing is said
//     before a full lapse has passed and the first reports are in.
//   - When more than half of the clusters turn away from up at once it suspects itself:
//     it publishes an alarm, and of states only those that are better than before.
//   - Without it nothing changes.
//
// What it does not promise: it probes nothing (package probe does), it withdraws
// nothing by itself (registry.View.Decide does, by what is said here), and it does not
// look after the zone record.
package observer
