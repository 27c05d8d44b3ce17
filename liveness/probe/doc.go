// Package probe finds out from where it runs whether gateways can be reached, and how
// long the way to them is. That is the second of the two signals of liveness; it decides
// nothing by itself.
//
//	cluster records ─SetTargets→ Prober ─attempts→ gateways
//	                               └ verdicts ─Reporter→ a report for each cluster
//
// What it promises:
//
//   - A gateway is reached when any of its addresses is. The verdict turns after Rise
//     successes or Fall failures in a row; before the first such run there is none, so
//     that a start says nothing of anybody.
//   - One goroutine plans and a fixed number works, however many gateways there are. The
//     workers are shared among the clusters: one whose gateways do not answer holds half
//     of them at most, n such clusters 1/(n+1) each, so that the others are probed as often
//     as they should be. When a cluster's gateways are too many for its share, each is
//     probed less often, in order of waiting, and that is said.
//   - A verdict that a gateway is reached speaks of the last few intervals: without a
//     probe for five it is none any more. Who is not reached stays so until it is.
//   - A probe goes to an address that the gateway's cluster has declared and to nowhere
//     else: no name is resolved, no redirect followed, no proxy used. Loopback, link-local
//     and metadata addresses are probed only where Allow covers them. Of what a gateway
//     sends, 16 KiB are read at most, and all of it within the timeout.
//   - What this machine lacks (descriptors, ports, memory), or a way to the address (IPv6, a
//     route), is not held against a gateway.
//   - Reports come at once when a verdict turns, otherwise every ten seconds, and at a
//     rate that is bounded whatever happens. When nothing is known of a cluster any more,
//     the last one has no gateways.
//
// What it does not promise: that a gateway which is reached serves (that is the
// registry's to say), nor that who reaches it speaks for others. Certificates are not
// verified, for reaching is the question. Of HTTP it speaks version 1.1.
package probe
