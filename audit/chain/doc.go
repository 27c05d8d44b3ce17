// Package chain proves the history: that what a stream, an archive or an export holds is
// what its writers wrote, whole and in their order.
//
// Every message carries the digest of itself and of the message before it in its writer
// and epoch ([stream.LinkOf]), and, where its writer has a key, an Ed25519 signature over
// its own. Epochs join: the first record of one names the epoch record before it, the
// message after it the last other message of the epochs before. So a message stands for
// all that led to it, and a reader that sees only the last of each subject can still
// check each by itself.
//
// What is found out, with sequences: messages that are missing, altered, stand in another
// order, were inserted, are signed by nobody or by a key that is not allowed; and two
// histories of one epoch. A history that begins in the middle, because the rest aged out,
// and messages of versions that had no chain are told and are no fault. A message stored
// twice, because its writer did not hear of the first time, is none either.
//
// What it does not prove:
//
//   - Without signatures, who may write the whole stream may write another history with
//     digests of its own. Signatures, or a [Checkpoint] kept elsewhere, make that visible.
//   - The end of a history is open: what was cut off behind the last message shows in the
//     next epoch's join, in a checkpoint, or in the writer's lease.
//   - Of takeovers that published nothing only the next one's record knows. Without
//     signatures, one that is gone can't be told from the record before it being altered; and
//     where all earlier records have aged out it is not missed, nor is the last repetition
//     of such a record.
//   - Messages of _operator have many authors and no epochs. Each proves itself alone: an
//     altered or foreign one is found, and one that is repeated, but not one that is gone.
//   - Times are the stream's word. No digest covers when a message was stored.
//
// All is pure but for reading files. A [Verifier] is for one goroutine.
package chain
