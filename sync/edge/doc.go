// Package edge is the agent of one cluster: it watches the local registry and
// publishes what changed, as the only writer of its cluster's subjects.
//
//	Source ─emit→ intake ─trusted snapshot→ export → brake ─desired→ outbox ─events→ Log
//
// What it promises:
//
//   - One writer. The agent publishes only while it holds its cluster's lease, and
//     every message names the epoch it began: a former holder is refused by the
//     stream, whatever the clocks say. A second agent stays a warm standby.
//   - What the stream has acknowledged is the truth to compare with. A message
//     that was sent once is sent again identically until it is acknowledged or
//     fenced; newer state waits behind it.
//   - What it had acknowledged and has lost is published again by whoever led when it was
//     lost, names that are known and empty as well; what went meanwhile is compared with it.
//   - Nothing queues without bound: what waits is the latest state of each service.
//   - Failure is not emptiness. A registry that can't be read, or whose catalogue
//     shrinks suddenly and does not shrink in a second read, withdraws nothing; and while
//     a newer reading waits to be confirmed, nothing is withdrawn by an older one.
//   - Much is not withdrawn at once. When more than a share of the cluster's services or
//     instances is deregistered within a window, what was known of them stands until the
//     registry has it again, somebody decides by an order, or a time is up; also across
//     a restart or a takeover, under the same id. Before it passes by itself the orders are
//     read anew: it may have been rejected while nobody listened. What is new, and every
//     change of health, passes meanwhile. A cluster that was ordered to leave is not held.
//   - A stop withdraws nothing. Start, restart, takeover and an ordered resync are
//     one routine: begin an epoch, read back, compare, publish the difference.
//
// What it does not promise: it does not know Consul, Nacos, NATS or JSON; it does
// not judge whether the cluster can be reached; and it needs no disk.
package edge
