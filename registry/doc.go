// Package registry is Seamark's vocabulary and its fold.
//
// It says what a cluster, a service, an instance, a gateway, an event and the
// zone are, and how a stream of events becomes one immutable [View]:
//
//	Snapshot ─Diff→ Change … Event ─Encode→ bytes ─Decode→ Message ─Fold.Apply→ View ─Store→ readers
//
// What it promises:
//
//   - It is pure. It opens nothing, starts nothing, logs nothing and never asks
//     for the time; the only times it knows are those written in events.
//   - A [View] is a function of the last message of each [Fact], in the order of
//     the stream's sequence. Redelivery, overlap and any way of cutting the
//     stream into pieces fold to the same View, byte for byte. Where the last
//     message of a fact can't be used, a reader that has not seen the earlier ones
//     looks back; see [Fold.Apply] and [Fold.Voided].
//   - A View and a [Snapshot] never change once they are handed out; any number
//     of goroutines may read them without a lock. The slices, maps and pointers
//     reached through them are shared: read them, never write to them.
//   - Whatever comes from outside passes one door ([ParseServiceKey],
//     [CleanService], [Decode] …), where it is bounded and validated. What is
//     refused is told as a [*Refusal] with a reason that can be counted.
//
// What it does not promise: it does not deliver, order or store messages (package
// stream does), it does not decide whether a registry can be trusted (package
// edge does), and it does not know DNS wire format (package dnsserver does).
package registry
