// Package batch receives and sends many datagrams with one system call each, where
// the system can (Linux: recvmmsg(2), sendmmsg(2)), and one by one elsewhere.
//
// What it promises:
//
//   - A [Socket] allocates nothing once it is made. Its owner reads packets in place
//     and writes replies into its buffers; nothing is copied in between.
//   - A reply leaves from the address that its query was sent to, also on a socket
//     that listens on all addresses.
//   - Where the batched calls are refused (an old kernel, a seccomp filter), it goes
//     on without them.
//   - It tells how many packets the system dropped before they could be received, and
//     how much it lets wait ([Socket.Lost], [Socket.ReceiveBuffer]), on Linux.
//
// What it does not do: it knows nothing of DNS, and does not share a socket between
// readers; each reader has a socket of its own on the same port ([Listen]).
package batch
