// Package doctor examines a whole mesh from one place.
//
//	Gather ─Facts→ Judge ─Report→ the command
//
// What it promises:
//
//   - [Judge] is pure: a check is a name, what it needs, and a function from [Facts] to
//     findings. It reads no clock and opens nothing.
//   - [Gather] changes nothing: no order, no event, no stream. All probes run at the same
//     time, each bounded by a few seconds and by the context.
//   - What could not be learnt is Unknown for each check that needs it, with the reason;
//     never Healthy, and never the end of the other checks.
//
// What it does not promise: to see what no one tells. The disk of a NATS server, an agent
// that stands by without having been asked (Options.Agents), and what is between two runs
// are not seen.
package doctor
