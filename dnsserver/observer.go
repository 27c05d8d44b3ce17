package dnsserver

import (
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/transfer"
)

// Protocol is how a query came.
type Protocol string

// The protocols.
const (
	UDP Protocol = "udp"
	TCP Protocol = "tcp"
)

// Observer counts what the server does. Its methods are called on the way of
// every answer, by any number of goroutines: they must not block. All its
// arguments come from small fixed sets (rcodes, and the constants below), so they
// may become labels of a metric.
type Observer interface {
	// Answered is called after each reply; took is the time from the whole query
	// read to the reply handed to the system.
	Answered(protocol Protocol, rcode string, took time.Duration)
	// Dropped is called for a packet or a connection that gets no reply.
	Dropped(protocol Protocol, reason Drop)
	// Noted is called for what is worth counting about an answer that was given.
	Noted(protocol Protocol, what Note)
	// Transferred is called when a zone transfer has ended or was refused, and for
	// each NOTIFY.
	Transferred(kind transfer.Kind, result transfer.Result)
}

// Drop says why a packet or a connection got no reply.
type Drop string

// The reasons to drop.
const (
	DropShort       Drop = "short"       // fewer bytes than a header
	DropResponse    Drop = "response"    // not a query: answering could make two servers talk for ever
	DropPort        Drop = "port-zero"   // from a port that can't be answered to
	DropOverload    Drop = "overload"    // more queries for the complete path than it can take
	DropRead        Drop = "read"        // the system could not give the packet or connection
	DropWrite       Drop = "write"       // the system did not take the reply
	DropConnections Drop = "connections" // too many connections in total
	DropPerAddress  Drop = "per-address" // too many connections of one client
	DropIncomplete  Drop = "incomplete"  // a connection ended, or was idle, within a message
	DropSlowReader  Drop = "slow-reader" // a client did not take its replies in time
	DropKernel      Drop = "kernel"      // the system's receive buffer was full: in [Counts], no Observer is told
)

// Note is something worth counting about an answer.
type Note string

// The notes.
const (
	NoteTruncated Note = "truncated" // did not fit into UDP: sent empty with TC
	NoteCut       Note = "cut"       // did not fit into TCP either: only the first records were sent
	NotePanic     Note = "panic"     // answering panicked: SERVFAIL was sent, or nothing

	NoteGoodCookie Note = "good-cookie" // the query's server cookie is valid: in [Counts], no Observer is told
)
