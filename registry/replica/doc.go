// Package replica keeps a [registry.Store] equal to the stream: the reader's half
// of the protocol.
//
//	Stream ─Follow→ messages ─Fold→ View ─Publish→ Store
//	                                  └─Facts→ checkpoint ─Resume→ View
//
// What it promises:
//
//   - Until it has caught up once, or was given a checkpoint, the Views say that they
//     are not synced.
//   - A message that can't be used changes nothing. While it catches up (when only
//     the last message of each fact is delivered) it looks for the state behind
//     such a message in the fact's history, so that the result equals that of a
//     replica which read everything.
//   - One cluster's faults do not hold up the others: what was missed is loaded by
//     turns of the writers, beside the tail, and the start waits for a thousand of a
//     writer's unusable facts at most, and half a minute at most for all. What is
//     not found by then is marked ([registry.View.Unknown]) and still looked for.
//   - Facts whose latest message can't be used for half a minute make it order a
//     resync of their cluster, again after ten minutes, then ever more seldom.
//   - A missing revision reloads its cluster. A digest that differs from the one in
//     the agent's lease, at the same epoch and revision, reloads it too and then
//     asks the agent for a resync.
//   - Nothing is ever withdrawn because something could not be read.
//
// With [Options].Recovery:
//
//   - While nothing is heard of the stream, what is known stands, marked with since
//     when it may not hold ([registry.View.Cut]).
//   - Where another stream takes the place of the one that was followed, all that was
//     known stands until each cluster's agent has published everything anew
//     ([registry.Inherit]), the sequence never goes back, and what the operator had said
//     and the stream does not know is written again.
//
// With a checkpoint: it is kept back for some seconds while the stream may be caught up
// with, so that no sequence is shown below one that was shown before the restart. Without
// the stream it is shown, and may be some seconds older than what was shown before.
//
// What it does not promise: a replica that begins with neither the stream nor a
// checkpoint knows nothing of a cluster whose agent is dead. Only one replica should
// write to a checkpoint's path.
package replica
