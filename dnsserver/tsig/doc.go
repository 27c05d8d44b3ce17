// Package tsig signs DNS messages with shared secrets and verifies them (RFC 8945).
//
// What it promises:
//
//   - A message is believed only when it ends in one TSIG record of a known key with
//     the algorithm that the key is given for, the whole code is right (compared in
//     constant time) and its time is within the fudge that it names.
//   - What is wrong is told as the RFC has it: BADKEY and BADSIG in replies that are
//     not signed, BADTRUNC and BADTIME in signed ones, the latter with our time.
//   - Replies of several messages are signed one by one, each by the code of the one
//     before it (§5.3.1).
//   - Secrets are never printed.
//
// What it does not do: sockets, and deciding what a key may do.
package tsig
