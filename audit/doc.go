// Package audit answers questions about the history: who changed what and when, what
// stood at a moment, what differs between two, which event put an answer there.
//
//	stream   ─┐
//	archive  ─┼─History→ Stored ─stream.Decode→ Message ─┬─Log→      entries
//	export   ─┘                                          ├─Fold→     View at a moment → diff, blame, resolve
//	                                                     └─package chain→ verdicts
//
// It reads and never writes. An answer is exact or it is refused: where the history no
// longer reaches back to a moment the error says what the earliest possible one is.
// What can't be understood is counted and told beside the answer, and hides nothing else.
//
// All functions may be called from several goroutines. They block for as long as
// reading takes, and end when their context does.
package audit
