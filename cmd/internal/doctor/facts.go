package doctor

import (
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Facts are what was learnt of a mesh. A part that could not be learnt has its error set.
type Facts struct {
	NATS        Server
	Account     Account
	Rights      Rights
	Streams     Streams
	View        View
	Signs       Signs
	Readers     []Reader // as they were named
	Agents      []Agent  // as they were named
	DNS         []NameServer
	Credentials File          // the zero File: none was named
	Certs       []Certificate // of NATS servers and of readers that are asked over TLS
	Configs     []Config

	Local     time.Time // this machine's clock at the end
	Transfers string    // how zone transfers should be: "allowed", "refused", or "" for not asked
}

// Server is the NATS server that was connected.
type Server struct {
	Err       error // it was not reached
	URL       string
	Version   string
	RoundTrip time.Duration
	Clock     Interval // how far its clock is ahead of this machine's
	ClockErr  error
}

// Interval bounds a time that can't be measured exactly.
type Interval struct{ Low, High time.Duration }

// Account is how much of JetStream the account has and may have. A limit below 0 is none.
type Account struct {
	Err                     error
	NoJetStream             bool // the server or the account has none
	Bytes, MostBytes        int64
	Streams, MostStreams    int
	Consumers, MostConsumer int
}

// Rights are what the server lets these credentials do.
type Rights struct {
	Err          error
	User         string
	PublishAllow []string // none: everything
	PublishDeny  []string
	Limited      bool          // there is a list at all
	Expires      time.Duration // until the server ends the connection; 0: never
}

// Streams are the two streams as their leaders tell of them.
type Streams struct {
	Err         error
	Denied      bool // Err is so because these credentials may not ask
	Missing     []string
	Differences []stream.Difference // but replicas, age and size, which an operator may choose
	Events      Stream
	Lease       Stream
	Now         time.Time // the clock of the server that leads the events, as of Facts.Local
	After       uint64    // last sequence of the events, asked when all else had been asked; 0: not learnt
}

// Stream is one stream.
type Stream struct {
	Name      string
	Created   time.Time
	Replicas  int // as configured
	MaxAge    time.Duration
	MaxBytes  int64 // none: not above 0
	Messages  uint64
	Bytes     uint64
	First     uint64
	Last      uint64 // before the readers were asked
	FirstTime time.Time
	LastTime  time.Time
	Leader    string
	Peers     []Peer // the replicas that do not lead

	Recent    uint64        // messages stored within Span
	Span      time.Duration // up to now; 0: not learnt
	RecentErr error
}

// Peer is a replica of a stream that follows its leader.
type Peer struct {
	Name    string
	Offline bool
	Current bool
	Lag     uint64        // messages
	Active  time.Duration // since it was heard of
}

// View is what a reader makes of the stream.
type View struct {
	Err   error
	View  *registry.View
	Notes []Note // the latest of each kind and writer, sorted by both
	// Epochs are the latest takeovers of clusters that had several, in the stream's order.
	Epochs map[registry.ClusterID][]Epoch
}

// Note is a note with its place in the stream.
type Note struct {
	Writer registry.Writer
	Note   registry.Note
	Stored time.Time
}

// Epoch is who began an epoch.
type Epoch struct {
	Epoch uint64
	Agent string
}

// Signs are the leases and probe reports, as they were heard for some seconds.
type Signs struct {
	Err     error
	Leases  map[registry.Writer]Lease
	Reports []ProbeReport // sorted by cluster and vantage point
}

// Lease is the latest lease of a writer.
type Lease struct {
	Lease  registry.Lease
	Stored time.Time
	// Ahead is the writer's clock minus the server's at each renewal that was heard: its
	// own time less the time at which it was stored. The way between them makes it smaller
	// than it is, never larger.
	Ahead []time.Duration
}

// ProbeReport is the latest report of a vantage point about a cluster.
type ProbeReport struct {
	registry.ProbeReport
	Stored time.Time
	Ahead  []time.Duration // as in Lease
}

// Reader is a global-dns as it was asked by HTTP.
type Reader struct {
	URL      string
	Err      error // it did not answer
	Ready    bool
	Said     string // by /readyz: why it is not ready, or with what it is
	Status   ReaderStatus
	Sequence uint64 // at the end; it was given a few seconds to come as far as the stream
	// Digests are the clusters' contents as it has them; none when it is not synced.
	Digests  map[registry.ClusterID]Content
	Seen     []*registry.View // our own, before and after it was asked for Digests
	Metrics  map[string]float64
	Clock    Interval // how far its clock is ahead of this machine's
	ClockErr error
}

// ReaderStatus is what /v1/status says.
type ReaderStatus struct {
	Zone     string `json:"zone"`
	Version  string `json:"version"`
	Sequence uint64 `json:"sequence"`
	Observer struct {
		Leading  bool   `json:"leading"`
		Holder   string `json:"holder"`
		Suspects bool   `json:"suspects"`
		Blind    string `json:"blind"`
	} `json:"observer"`
}

// Content is how a cluster stands in a reader.
type Content struct {
	Epoch    uint64          `json:"epoch"`
	Revision uint64          `json:"revision"`
	Digest   registry.Digest `json:"digest"`
}

// Agent is an edge-sync as it was asked by HTTP.
type Agent struct {
	URL     string             `json:"-"`
	Err     error              `json:"-"`
	Cluster registry.ClusterID `json:"cluster"`
	Role    string             `json:"role"` // leader or standby
	Holder  string             `json:"holder"`
	Pending int                `json:"pending"`
}

// NameServer is a DNS server as it was asked.
type NameServer struct {
	Address     string
	SOA         map[string]Answer // by protocol: udp, tcp
	Name        string            // a service that must be answered; "" when none could be chosen
	Type        string            // A or AAAA
	Want        []string          // the addresses that may be answered
	Service     Answer
	Transfer    string // allowed, refused, or "" when it was not asked
	TransferErr error
}

// Answer is one answer of a DNS server.
type Answer struct {
	Err      error
	RCode    string
	Data     []string
	Extended []string
	Serial   uint32 // of the SOA
	Took     time.Duration
}

// File is the credentials file.
type File struct {
	Path    string
	Err     error // it can't be read, or holds no JWT
	User    string
	Expires time.Time // zero: never
}

// Certificate is what a server showed, or what stands in a file.
type Certificate struct {
	Where   string // host:port, or the file
	Err     error  // it could not be asked, or read
	Subject string
	Until   time.Time // when the first of the chain ends
	NoTLS   bool      // it speaks no TLS
}

// Config is a configuration file of a daemon.
type Config struct {
	Path    string
	Daemon  string // edge-sync or global-dns
	Err     error  // it could not be checked
	Faults  []string
	Zone    *registry.ZoneRecord // of global-dns, when it has no faults
	Streams *stream.Settings     // likewise

	// What the daemon shows to NATS, where the file names it; the zero values: nothing.
	Credentials File
	Certificate Certificate
}
