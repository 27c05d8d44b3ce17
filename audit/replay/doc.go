// Package replay lives through a part of the history again: a registry of its own, and
// a DNS server of its own that a real client can be pointed at.
//
//	History ─At→ what stood at From ─┐
//	History ─Read→ chunks ─decode→ ──┴─pace→ Fold → Store → dnsserver
//
// What it promises:
//
//   - After a message of the history was applied, the registry and the answers are those
//     that every replica had which had read as far; the SOA serial is that sequence.
//   - Messages keep the distances at which they were stored, divided by the speed; or
//     they follow each other as fast as they can be read, decoded on all cores.
//   - What can't be used is counted, as every reader does, and holds up nothing.
//   - It reads the history and writes nothing, anywhere.
//
// What it does not do: asking what nobody recorded. How far each single replica was
// behind then, and whether it was cut off, is no part of the history.
package replay
