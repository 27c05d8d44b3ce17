// Package nacos reads one Nacos cluster and says what it holds: a source of
// snapshots for the agent.
//
//	list poll ─new names→ check by HTTP ─→ subscribe ─pushes→ mapping → catalog → Snapshot
//	                           ↑ every empty push, every vanished name, and a rolling check of all
//
// Nacos tells two things in two ways: which services exist is asked for once a
// second, what instances they have is pushed to subscribers. Both come through
// the Nacos SDK (gRPC, port+1000). The open API (HTTP) is the second witness: it
// confirms before anything is taken away, it finds what the SDK has lost, and it
// serves [Source.Read].
//
// What it promises:
//
//   - A snapshot is the whole of the configured namespaces and groups, or it is
//     not emitted. A registry that can't be read ends the Watch with an error.
//   - Nothing is taken away on one witness's word: an empty push, a name that
//     left the list, and an empty list are believed once the open API agrees.
//   - Health that Nacos hides behind its protect threshold is
//     [registry.Unknown], never healthy.
//   - After an outage of Nacos the first snapshot waits a while for instances
//     that register again, so that its restart withdraws nothing by itself.
//   - A lost, late or reordered push is repaired by the rolling check: every
//     service is compared once in ten seconds, at most a hundred a second.
//   - One service that the SDK can't decode harms no other: it is read by HTTP.
//   - What is refused is reported once while it stays as it is.
//   - When Watch returns, its goroutines have ended and its temporary directory
//     is gone; those of the SDK end within seconds.
//
// What it does not promise: it does not retry (the agent does), does not find
// namespaces and groups by itself, and does not see services that have no
// instance. Nacos gives no moment at which the whole catalog was read; every
// single service is as it was at one moment. A new service is seen when the list
// is next asked for, within about a second.
//
// The SDK keeps state per process (a logger, a map of clients); this package
// guards it with one lock. A program that uses the SDK beside this package must
// not open or close clients of its own at the same time.
package nacos
