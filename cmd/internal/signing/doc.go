// Package signing is the section of a daemon's configuration that says with which key it
// signs what it writes on the stream. It promises that a file that can't be used is a fault
// of its field before the daemon starts, and that no error quotes what is in it. It does not
// take up another key while the daemon runs.
package signing
