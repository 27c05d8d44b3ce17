// Package lookup tells what the zone says: a [registry.View] and a question give
// an answer, as values.
//
// The zone has these names, all below the zone record's own name:
//
//	<service>.<namespace>.svc            gateways of all clusters that can serve it
//	<service>.svc                        the same, for the namespace "default"
//	<service>.<namespace>.<cluster>.cluster   that cluster only
//	<cluster>.gw, <gateway>.<cluster>.gw      that cluster's gateways
//	_<port>._tcp.<any of the above>      SRV and SVCB; the port by name or by number
//	_<number>._https.<any of the above>  HTTPS, for URLs with that port
//	_services._dns-sd._udp.<namespace>.svc and others  PTR: lists, to browse
//	the apex, and the zone's own name servers
//
// docs/dns.md says what stands at each of them.
//
// What it promises:
//
//   - It is pure: no I/O, no clock, no chance, no logger. The same View and
//     question give the same answer, record by record, in the same order; and so
//     do two Views of the same stream sequence, however they were folded.
//   - Existence and content are two facts. A name that was never registered (or is
//     forgotten) is NXDOMAIN, and so is everything below it (RFC 8020). A name
//     that is known but has nothing of the type asked for, or that has something
//     below it only, is NODATA. A View that is not synced knows neither, and says
//     SERVFAIL. No name matches by a wildcard.
//   - Which cluster is answered with is decided by [registry.View.Decide] alone.
//   - All records of one RRset have one TTL (RFC 2181 §5.2) and none stands twice
//     (§5). TTLs lie within [registry.MinTTL] and [registry.MaxTTL].
//   - The records of a [Response] belong to the caller.
//   - [Zone] yields exactly what [Answer] says, and [Changed] what differs between two
//     Views, in proportion to what changed.
//
// What it does not do: packets, their sizes and their rotation (package dnsserver),
// and the messages of zone transfers.
package lookup
