// Package transfer gives the zone to secondaries: who may have it, what of it they
// lack, in which messages it travels, and how they hear that it changed.
//
// What it promises:
//
//   - Nobody gets the zone unless the settings name the client's address, and, where
//     keys are given, the request is signed with one of them.
//   - A transfer shows one View from its first record to its last. What an AXFR
//     (RFC 5936) gives, and what a client makes of an IXFR (RFC 1995), are the same
//     records with the same serial: every record of package lookup's Zone, each once.
//   - An IXFR is one difference, from the client's serial to ours, made from what the
//     View remembers ([registry.View.Since]). The serial is the stream's sequence, so
//     it means the same at every replica. Where the View does not reach back, or most
//     of the zone changed, the answer is the whole zone; a client that has our serial,
//     or a later one, gets our SOA alone. Serials are compared as RFC 1982 has it.
//   - Nothing is collected: records are made while they are sent, so a transfer needs
//     about as much memory as two messages, and a slow client slows only itself.
//   - A secondary hears of a change at once, and of all changes within a second after
//     that together (NOTIFY, RFC 1996). It is told again, with growing pauses, until
//     it answers. Only what changes a record is told: the serial also moves when
//     nothing of the zone does, and then a secondary finds out at its next refresh.
//
// What it does not do: the sockets of the server, the signatures (package tsig), and
// taking zones from others.
package transfer
