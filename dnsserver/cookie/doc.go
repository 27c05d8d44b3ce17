// Package cookie makes and checks DNS cookies (RFC 7873), the server's half in the
// form that replicas of several makers share (RFC 9018): version 1, SipHash-2-4.
//
// What it promises:
//
//   - A server cookie that [Keys.Append] made is valid for the same client cookie and
//     the same address, with any Keys that hold the secret, for an hour after it was
//     made (and five minutes before, because clocks differ), across the wrap of the
//     32-bit clock. Any other is not, but for one in 2^64.
//   - Nothing allocates, blocks, or reads a clock: what time it is, in seconds since
//     1970 modulo 2^32, is an argument. [Keys] are immutable and may be shared.
//
// What it does not do: packets, and what a server does about a cookie that is not
// valid. A cookie tells that its sender can receive at its address; it proves
// nothing to somebody who can read the packets on their way.
package cookie
