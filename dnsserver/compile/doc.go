// Package compile keeps the answers that are asked for most as bytes that only need
// to be copied: the fast path.
//
// A [Compiler] turns a [registry.View] and what changed since the last one into a
// [Table]; [Table.Reply] turns a query packet into a reply packet, or leaves it to
// the complete path (packages packet and lookup).
//
// How it is cheap: what DNS says of a service depends on little, namely on the
// clusters that know it and can serve it, and on its TTL. All services that agree
// in that share one set of compiled answers. A service that fails over only points
// to another set; a gateway that changes recompiles a few sets, and no service.
//
// What it promises:
//
//   - Whatever [Table.Reply] answers is what the complete path would have answered
//     from the same View, record by record, and as long. What it does not know it
//     leaves alone.
//   - [Table.Reply] allocates nothing, takes no lock, reads no clock, and takes time
//     in proportion to the packet and the reply. Nothing in a packet makes it panic.
//   - A Table is immutable; a reply, its serial and its existence of names are of
//     one moment. An update costs what changed and one copy of 1024 pointers,
//     however many names there are.
//   - The tables of names hold no pointers, so the garbage collector need not look
//     at them.
//
// What it leaves to the complete path: TXT, ANY, transfers, names outside svc,
// cluster and gw, service discovery by DNS, EDNS options other than cookies, replies
// that must be cut, and whatever is wrong with a packet.
package compile
