// Package refusals counts and logs what was refused at a door, so that hostile
// input can neither hide nor fill a log.
//
// It promises one log line per reason at once and then at most one per reason in
// ten minutes, and a counter per reason. It does not keep what was refused.
package refusals
