// Package stream is Seamark's way over NATS JetStream, both ends of it, so that
// the grammar of subjects, the streams' configuration and the form of a message
// are written down once.
//
//	edge   ─Writer.Publish→  MESH_EVENTS  ─Conn.Read→         registry.Fold
//	edge   ─Writer.PutLease→ MESH_LEASE   ─Conn.WatchLeases→  liveness
//	person ─Conn.Put→        MESH_EVENTS  ─Writer.WatchOrders→ edge
//
// What it promises:
//
//   - A publish that returned nil is stored, and stands after the epoch record it
//     was fenced with. A writer that lost its lease stores nothing: the server
//     refuses it ([ErrFenced]), not a clock.
//   - Sending the identical events again is always safe; within the stream's
//     dedupe window (two minutes) they are stored once.
//   - [Conn.Read] hands on every message of the stream in the order of its
//     sequence, each once, across reconnects, server restarts and lost consumers;
//     it says when it has caught up, also with an empty stream. Where it can't
//     keep that promise, because the stream is no longer the one it was reading,
//     it ends with [ErrStreamChanged] and never goes on over a hole.
//   - A message that can't be understood is handed on as refused, with its
//     sequence; it never stops the flow.
//   - Every call that waits takes a context and has a bound of its own beside it.
//     Buffers are bounded.
//
// What it does not promise: it does not retry a publish (package edge does), it
// does not decide what a message means (package registry does), and a publish
// that returned another error than [ErrFenced] may or may not be stored.
//
// The server is NATS 2.12 or later (atomic batches).
package stream
