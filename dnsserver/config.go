package dnsserver

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
)

// Config says where the server listens and what it grants. A zero field means the
// default that its comment names.
type Config struct {
	// Listen holds IP addresses with ports, "127.0.0.1:5300" or "[::1]:53"; ":53"
	// means all addresses of the machine. Each is served on UDP and on TCP, both on
	// the same port; port 0 lets the system choose one. At least one is needed.
	Listen []string

	// Readers is the number of goroutines that read and answer each UDP socket; the
	// number of processors.
	Readers int

	Settings
}

// Settings are what [Server.Reload] may change while the server runs. A zero field
// means the default that its comment names.
type Settings struct {
	// UDPPayload is the longest reply over UDP, 512 to 4096 bytes; 1232, because
	// that passes every path without fragments. More saves retries over TCP, and
	// risks replies that never arrive.
	UDPPayload int

	MaxConnections int           // TCP connections at one time; 1024
	MaxPerAddress  int           // of one IPv4 address or IPv6 /64 prefix; 128
	Idle           time.Duration // until the next query of a connection must have arrived as a whole; 10 s
	WriteTimeout   time.Duration // until a client must have taken a reply over TCP; 5 s

	// Transfer says who may have the zone, and who is told of changes: nobody.
	Transfer transfer.Settings

	// Cookies make and verify server cookies (RFC 7873); random ones by default, which
	// no other replica knows. Without a good one a query is answered like any other,
	// and brings the client a fresh one.
	Cookies *cookie.Keys

	// RequireCookies answers BADCOOKIE to queries over UDP whose client knows cookies
	// and does not have a good one, for times when clients' addresses are forged (RFC
	// 7873 §5.2.3). It costs each new client a second query.
	RequireCookies bool

	// QueryLog says which queries are logged: none.
	QueryLog QueryLog

	NSID     string          // what an NSID option brings (RFC 5001), at most 100 bytes; nothing
	Identity lookup.Identity // what is said in class CHAOS; nothing
}

// checked returns the configuration with its defaults.
func (c Config) checked() (Config, error) {
	if len(c.Listen) == 0 {
		return c, errors.New("dnsserver: no address to listen on")
	}
	for _, address := range c.Listen {
		if _, _, err := splitAddress(address); err != nil {
			return c, err
		}
	}
	byDefault(&c.Readers, runtime.GOMAXPROCS(0))
	if c.Readers < 0 {
		return c, errors.New("dnsserver: the number of readers is negative")
	}
	var err error
	c.Settings, err = c.Settings.checked()
	return c, err
}

// checked returns the settings with their defaults.
func (s Settings) checked() (Settings, error) {
	byDefault(&s.UDPPayload, 1232)
	byDefault(&s.MaxConnections, 1024)
	byDefault(&s.MaxPerAddress, 128)
	byDefault(&s.Idle, 10*time.Second)
	byDefault(&s.WriteTimeout, 5*time.Second)
	if s.Cookies == nil {
		s.Cookies = cookie.NewKeys(cookie.NewSecret())
	}
	switch {
	case len(s.NSID) > packet.MaxNSID:
		return s, fmt.Errorf("dnsserver: the NSID has %d bytes, more than %d", len(s.NSID), packet.MaxNSID)
	case len(s.Identity.Version) > maxIdentity || len(s.Identity.ID) > maxIdentity:
		return s, fmt.Errorf("dnsserver: an identity has more than %d bytes", maxIdentity)
	case s.UDPPayload < packet.MinUDP || s.UDPPayload > 4096:
		return s, fmt.Errorf("dnsserver: a UDP payload of %d bytes is not within %d and 4096", s.UDPPayload, packet.MinUDP)
	case s.MaxConnections < 0 || s.MaxPerAddress < 0 || s.Idle < 0 || s.WriteTimeout < 0:
		return s, errors.New("dnsserver: a limit is negative")
	}
	var err error
	if s.QueryLog, err = s.QueryLog.checked(); err != nil {
		return s, err
	}
	s.Transfer, err = s.Transfer.Checked()
	return s, err
}

// maxIdentity is the longest string of a TXT record (RFC 1035 §3.3).
const maxIdentity = 255

func byDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
