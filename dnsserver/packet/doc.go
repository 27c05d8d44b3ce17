// Package packet reads queries from bytes and writes replies to bytes.
//
// What it promises:
//
//   - No packet makes it panic, allocate more than a few times the packet's own
//     length, or take more time than in proportion to it. A query is valid as a
//     whole or not at all: counts that do not fit the data, data behind the last
//     record, compression in the question, a second OPT and an option that runs
//     over its end are FORMERR.
//   - A reply echoes the question byte for byte, and of the query's flags only the
//     opcode and RD, the latter to opcode QUERY alone. It never exceeds its limit: it drops
//     additional RRsets first, whole and from the end, and then says TC with empty
//     sections (RFC 2181 §9). There is an OPT record exactly when the query had one
//     (RFC 6891 §6.1.1); options that are not understood are not echoed.
//
// What it does not do: sockets, and deciding what the answer is.
package packet
