// Package consul is the source for clusters whose registry is Consul.
//
// A [Source] watches a whole catalog through blocking queries; no timer is ever
// the way to notice a change. A watch is only a hint which service may have
// changed: what is emitted comes from one fresh, non-stale read of just that
// service. Where the hints come from is the mode, chosen when a Watch starts:
//
//	hints        two watches per node, of its services and of its checks, and of the nodes and the names;
//	             where that is too many, or a node has very many instances, the checks of all nodes
//	             are watched as two lists, of the critical and of the warning
//	per-service  one watch per service: up to 100 services; over HTTPS also fewer services than nodes,
//	             or nodes with very many instances
//	sweep        plain HTTP with too many nodes for hints: definition changes are found by asking each node's index
//
// One reply is more than a hint: that of a service's own watch, when the leader
// itself answered and nothing that was known is missing or older in it. It is what
// a read would say, and is taken as it is. That is so with up to 100 services; the
// watches of more are answered from a memory that no leader stands behind.
//
// What it promises:
//
//   - Failure is not emptiness. A transport error, a reply that is not 200, an
//     index of 0 or 1, a reply without a leader: no data, and the Watch ends with
//     an error. A reply whose index did not move is not looked at.
//   - A state that was swapped (a snapshot was restored: an index goes back, or a
//     query returns early without news) makes the Watch read everything again.
//   - While a Watch runs, a missing instance is believed only after a second read, a
//     short time later. Where ACLs could hide it, the token must also be
//     allowed to see the service and the node, before and after that read; what
//     it may not see keeps its last state and is reported.
//   - A token that loses the right to read services or nodes ends the Watch with
//     an error that names the missing policy. It never looks like emptiness.
//   - Reads are consistent ones: a leader that has just been elected answers
//     ordinary reads from a log that it has replayed in part.
//   - It is a modest client: a few connections over HTTPS (one for 200 watches),
//     and over plain HTTP never more than 150, where Consul refuses clients with
//     more than 200; also at the start, in a burst, and when a Watch follows one
//     whose connections Consul still holds. Forcing a mode lifts that bound.
//   - Bad content disturbs only itself: it is reported as a [registry.Refusal].
//
// The lists of ill checks grow with what is ill, on both sides and for every
// flip; a node's checks do not. That is why they are watched node by node.
//
// What it does not: it does not start again by itself after an error (package
// edge does), and it does not know partitions, namespaces or peers of Consul
// Enterprise: everything is read in the default ones.
//
// It uses an HTTP client of its own and JSON types of its own, because that of
// consul/api offers neither pinned connections, nor the index header before the
// body is decoded, nor bounded bodies, and its types decode much that is not
// needed. From consul/api come the names of things.
package consul
