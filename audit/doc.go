// Package audit answers questions about the history: who changed what and when, what
// stood at a moment, what differs between two, which event put an answer there.
//
//	stream   ─┐
//	archive  ─┼─History→ Stored ─stream.Decode→ Message ─┬─Log→      entries
//	export   ─┘                                          ├─Fold→     View at a moment → diff, blame, resolve
//	                                                     └─package chain→ verdicts
//
// It reads and never writes. An answer is exact or it is refused: [At] gives the View that
// a fold of everything up to the moment gives, byte for byte. Where the history has lost
// its beginning, that must be proven from what is left (each writer publishes all it owns
// once a day and then a mark with the digest); where it can't be, the error is a
// [*TooEarlyError] with the earliest moment possible.
//
// What can't be understood is counted and told beside the answer, and hides nothing else.
// What a stream said that this one took the place of is no part of this history.
//
// All functions may be called from several goroutines. They block for as long as
// reading takes, and end when their context does.
package audit
