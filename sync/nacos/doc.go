// Package nacos reads one Nacos cluster and says what it holds: a source of
// snapshots for the agent.
//
//	list, once a second ─new names→ subscribe ─pushes→ mapping → catalog → Snapshot
//	                                             ↑ empty pushes, vanished names, and a
//	                                               rolling check of all: read by HTTP
//
// Nacos tells two things in two ways: which services exist must be asked for,
// what instances they have is pushed to subscribers. Both go over gRPC (the HTTP
// port + 1000), in one connection for each namespace. The open API (HTTP) is the
// second witness: it confirms before anything is taken away, it finds what a push
// did not say, and it serves [Source.Read].
//
// What it promises:
//
//   - A snapshot is the whole of the configured namespaces and groups, or it is
//     not emitted. A broken connection, or a registry that can't be read for five
//     seconds, ends the Watch with an error.
//   - Nothing is taken away on one witness's word: an empty push, a name that
//     left the list, and an empty list are believed once the open API agrees.
//   - Health that Nacos hides behind its protect threshold is
//     [registry.Unknown], never healthy.
//   - After an outage of Nacos the first snapshot waits a while for instances
//     that register again, so that its restart withdraws nothing by itself.
//   - A lost or late push is repaired by the rolling check: every service is
//     compared once in ten seconds, at most a hundred a second.
//   - One instance that can't be decoded, or one name that can't be read, is left
//     out and disturbs no other. What is refused is reported once while it stays
//     as it is.
//   - When Watch or Read returns, all that it started has ended.
//
// What it does not promise: it does not retry (the agent does), does not find
// namespaces and groups by itself, and does not see services that have no
// instance. Nacos gives no moment at which the whole catalog was read; every
// single service is as it was at one moment. A new service is seen when the list
// is next asked for, within about a second.
//
// # The SDK
//
// Of the Nacos SDK (v2.3.5) this package uses the gRPC stubs, not the naming
// client. That client can't be used here, whatever its settings: it opens a UDP
// port on all addresses, takes pushes there from anybody, and never closes it; its
// goroutines race on the instances that it hands out; one instance with the
// weight NaN, which Nacos accepts, takes down the subscriptions of all others; it
// hides that the server is away, takes an answer that says "no" for an empty one
// (a service without a name is then asked for every second, SDK issue #868), drops
// pushes of one millisecond, loses subscriptions in a reconnect (#587, #753),
// writes every service to a file, and may end the process on a bad certificate.
package nacos
