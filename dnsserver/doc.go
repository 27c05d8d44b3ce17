// Package dnsserver answers DNS over UDP and TCP, as the authority for the zone.
//
// What comes in goes one of two ways. The fast path copies what was compiled:
// socket → package batch → package compile → package batch → socket. Whatever that
// does not know goes the complete path: socket → package packet (bytes → query) →
// package lookup (View, query → answer) → package packet (answer → bytes) → socket.
//
// What it promises:
//
//   - One answer sees one View, and both paths the same one; loading it never blocks.
//     What is answered is decided by package lookup, how it looks on the wire by
//     package packet; the fast path says the same, or nothing.
//
//   - A View that is published is answered from a few milliseconds later. Where it has
//     to be compiled anew as a whole (another stream, thousands of names at once) the
//     answers before it stand meanwhile, for two seconds at most. The mark of a View
//     that is cut off is no such case.
//
//   - More than can be answered is dropped before any work, and counted.
//
//   - Nothing that a client sends or fails to send stops the answers to others.
//     Connections are bounded in total and per client, reads and writes have
//     deadlines, a message takes memory only as its bytes arrive, and a panic costs
//     one answer. Over TCP what has to be made for a query holds up no answer behind it,
//     as long as there is not too much of it.
//
//   - Which address of an RRset comes first is left to chance; nothing else is
//     reordered.
//
//   - [Server.Run] returns only when all that it started has ended: queries that
//     were read are answered, clients that do not read are given up at the write
//     deadline.
//
//   - Who is allowed gets the zone by AXFR and IXFR (package transfer), signed when
//     the request is (package tsig). A transfer is sent beside the other answers of its
//     connection and holds up none of them for longer than one of its messages takes.
//
// What it does not do: recursion (it never asks anyone anything), taking zones from
// others, dynamic updates, signing of records, encryption, rate limiting.
package dnsserver
