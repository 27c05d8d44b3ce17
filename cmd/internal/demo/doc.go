// Package demo is a mesh of three clusters on one machine: an embedded NATS
// server, one global-dns, and for each cluster an agent in a process of its own, a
// catalogue file, real HTTP instances and a gateway in front of them.
//
// It promises that every step of its tour is measured and checked against real
// DNS answers and real HTTP replies, that everything listens on loopback only, and
// that nothing is left behind but its directory. It is no way to run production.
package demo
