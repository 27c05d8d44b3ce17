// Command seamark is the operator's command: it shows what the mesh knows and
// answers, changes what operators may change (by publishing orders on NATS, so
// that every change has an author and a place in the history), and runs the demo.
//
// What only reads asks global-dns by HTTP; the HTTP API itself changes nothing.
package main
