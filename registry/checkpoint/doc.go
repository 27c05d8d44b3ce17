// Package checkpoint keeps what a reader knows in a file, so that it can answer at
// once when it starts while the stream can't be reached.
//
//	View ─Facts→ Checkpoint ─Encode→ file, file.1     ─Decode→ Checkpoint ─registry.Restore→ View
//
// What it promises:
//
//   - A file that is read is whole: it ends with the SHA-256 of all before it, and
//     every event in it passes [registry.Decode], the door that events from the
//     stream pass.
//   - A crash at any moment, a full disk or a directory that can't be written leaves
//     at least one of the two generations as it was.
//   - Whatever a file holds, reading it ends with a Checkpoint or with an error that
//     says what is wrong and what to do; it never panics, and what it takes is bounded.
//
// What it does not promise: it does not know whether what it holds still stands; who
// reads it marks the View as cut off. Two processes must not share one path. Numbers
// are big-endian, or varints as in encoding/binary:
//
//	8 bytes   "SEAMARK" and a zero byte
//	2 bytes   version of the format
//	4 bytes   length of the header
//	header    JSON: zone, created, before, sequence, current, stored, count
//	body      zstd: for each fact its sequence (uvarint), when it was stored (varint, Unix
//	          nanoseconds, 0: not known), length of the event (uvarint), the event (JSON)
//	32 bytes  SHA-256 of all before
package checkpoint
