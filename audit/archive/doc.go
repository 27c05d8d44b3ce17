// Package archive keeps the history of a mesh on disk for longer than its stream does.
//
//	stream ─History→ Writer ─blocks→ tail ─seal→ segment, segment, … ─Archive→ History
//	                                                          └──── Join(archive, stream) → History
//
// A folder holds one archive: sealed segments, which never change; the tail, which
// grows; the manifest, which lists and chains the segments; and a lock for its one writer.
//
// What it promises:
//
//   - What goes in comes out: sequence, time, subject, headers and body, byte by byte.
//   - A crash at any moment leaves whole blocks. A block that was not written to its end
//     is cut off when the next writer begins, and this is told; what stood in it is
//     taken from the stream again.
//   - No message stands in it twice, and none is missing that the stream held. What the
//     stream had dropped before it was archived is a [Gap], which is recorded and told; what
//     it had not dropped by itself and did not hold is told apart, and stays missing.
//   - A segment that was altered or damaged, a manifest or an index that is lost: what
//     can't be read is skipped, counted and told ([Archive.Faults]); the rest is answered.
//   - A question touches only the blocks that may hold its answer.
//
// What it does not promise: digests show damage, and alteration by somebody who does
// not write them anew; the proof of who wrote what is in the messages (package chain).
// It has no opinion on what a message means.
//
// # The files
//
// Numbers are big-endian, or varints as in encoding/binary. The tail and a segment
// begin alike:
//
//	8 bytes   "SEAMARKA"
//	2 bytes   version of the format
//	4 bytes   length of the header
//	4 bytes   CRC-32C of the header
//	header    JSON: archive, number, after (the chain so far), break, judged
//
// Then come blocks, each compressed by itself:
//
//	4 bytes   "BLK1"
//	60 bytes  lengths (meta, data; compressed and not), count, first and last sequence,
//	          least and greatest time, CRC-32C of meta and of data
//	4 bytes   CRC-32C of all before
//	meta      zstd: the subjects in it, and of each message sequence, time, subject, lengths
//	data      zstd: of each message headers and body
//
// A segment ends with an index (zstd: the blocks, and for each subject the sequences of
// its messages), a footer (JSON: what the segment holds), the footer's length (4 bytes),
// and the SHA-256 of all before. The chain of a segment is the SHA-256 of the chain
// before it and its own digest.
package archive
