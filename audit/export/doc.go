// Package export writes a part of the history to one file that can be looked at
// elsewhere, and reads it again.
//
//	History ─Write→ JSONL, CloudEvents or CSV ─Open→ History
//
// What it promises:
//
//   - JSON Lines and CloudEvents lose nothing: what was exported comes out byte by byte.
//   - Every line carries a checksum, and the file ends with a line that tells how many
//     there are and the SHA-256 of all before: what was cut or altered is found and told
//     with the number of its line, and the rest is still answered ([File.Faults]).
//   - An export that was cut is gone on with where it ends, when it is the same export.
//
// What it does not promise: CSV is for people; it is not read again. A checksum shows
// damage, not who wrote something: that proof is in the messages (package chain).
package export
