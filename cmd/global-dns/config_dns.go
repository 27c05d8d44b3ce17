package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/dnsserver"
	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
)

// DNS says where DNS is answered, on UDP and TCP, and what clients are granted.
type DNS struct {
	Listen     []string `yaml:"listen" default:"127.0.0.1:5300" help:"addresses on which DNS is answered, UDP and TCP"`
	UDPPayload int      `yaml:"udp_payload" default:"1232" help:"longest reply over UDP in bytes, 512 to 4096"`
	TCP        TCP      `yaml:"tcp"`
	Cookies    Cookies  `yaml:"cookies"`
	NSID       string   `yaml:"nsid" help:"what clients that ask for an NSID are told"`
	Chaos      Chaos    `yaml:"chaos"`
	Transfer   Transfer `yaml:"transfer"`
	QueryLog   QueryLog `yaml:"query_log"`
}

// QueryLog says which queries are written to the log.
type QueryLog struct {
	Names     []string       `yaml:"names" help:"log the queries for these domain names and all below"`
	Clients   []netip.Prefix `yaml:"clients" help:"log the queries from these networks"`
	PerSecond int            `yaml:"per_second" default:"10" help:"most lines of the query log in a second"`
}

// TCP bounds what connections may take.
type TCP struct {
	MaxConnections int           `yaml:"max_connections" default:"1024" help:"TCP connections at one time"`
	MaxPerAddress  int           `yaml:"max_per_address" default:"128" help:"TCP connections of one IPv4 address or IPv6 /64 at one time"`
	Idle           time.Duration `yaml:"idle" default:"10s" help:"how long a TCP connection may be idle"`
}

// Cookies says with which secrets DNS cookies are made and verified.
type Cookies struct {
	SecretFiles []config.Path `yaml:"secret_files" help:"files with a secret each, 32 hex digits: the first makes DNS cookies, all verify them"`
	Require     bool          `yaml:"require" help:"answer BADCOOKIE over UDP to clients that know cookies and have no good one: for times of forged addresses"`
}

// Chaos is what is told in class CHAOS.
type Chaos struct {
	Version string `yaml:"version" help:"answer to version.bind in class CHAOS"`
	ID      string `yaml:"id" help:"answer to id.server and hostname.bind in class CHAOS"`
}

// Bounds of the section.
const (
	minPayload, maxPayload       = packet.MinUDP, 4096
	maxConnections               = 1_000_000
	minIdle, maxIdle             = time.Second, time.Hour
	maxSecrets                   = 8
	maxSecretFile          int64 = 1 << 10
	maxChaos                     = 255
)

// check adds to the report what is wrong with the section.
func (d *DNS) check(r *config.Report) {
	if len(d.Listen) == 0 {
		r.Add("dns.listen", "no address is given; write for example [\"127.0.0.1:5300\"]")
	}
	for i, address := range d.Listen {
		at := fmt.Sprintf("dns.listen[%d]", i)
		config.CheckListen(r, at, address)
		if slices.Contains(d.Listen[:i], address) && !strings.HasSuffix(address, ":0") {
			r.Add(at, "%q is given twice", address)
		}
	}
	if d.UDPPayload < minPayload || d.UDPPayload > maxPayload {
		r.Add("dns.udp_payload", "%d is not within %d and %d; 1232 passes every path without fragments", d.UDPPayload, minPayload, maxPayload)
	}
	if n := d.TCP.MaxConnections; n < 1 || n > maxConnections {
		r.Add("dns.tcp.max_connections", "%d is not within 1 and %d", n, maxConnections)
	}
	if n := d.TCP.MaxPerAddress; n < 1 || n > maxConnections {
		r.Add("dns.tcp.max_per_address", "%d is not within 1 and %d", n, maxConnections)
	}
	if t := d.TCP.Idle; t < minIdle || t > maxIdle {
		r.Add("dns.tcp.idle", "%v is not within %v and %v", t, minIdle, maxIdle)
	}
	if n := len(d.Cookies.SecretFiles); n > maxSecrets {
		r.Add("dns.cookies.secret_files", "%d secrets, more than %d: two are enough while one replaces the other", n, maxSecrets)
	}
	for i, path := range d.Cookies.SecretFiles {
		at := fmt.Sprintf("dns.cookies.secret_files[%d]", i)
		switch {
		case path == "":
			r.Add(at, "no file is named")
		case slices.Contains(d.Cookies.SecretFiles[:i], path):
			r.Add(at, "the file is given twice")
		}
	}
	checkText(r, "dns.nsid", d.NSID, packet.MaxNSID)
	checkText(r, "dns.chaos.version", d.Chaos.Version, maxChaos)
	checkText(r, "dns.chaos.id", d.Chaos.ID, maxChaos)
	d.Transfer.check(r)
	d.QueryLog.check(r)
}

// check adds to the report what is wrong with the section.
func (l *QueryLog) check(r *config.Report) {
	if n := l.PerSecond; n < 1 || n > dnsserver.MaxLoggedPerSecond {
		r.Add("dns.query_log.per_second", "%d is not within 1 and %d", n, dnsserver.MaxLoggedPerSecond)
	}
	for field, n := range map[string]int{"names": len(l.Names), "clients": len(l.Clients)} {
		if n > dnsserver.MaxLogged {
			r.Add("dns.query_log."+field, "%d, more than %d", n, dnsserver.MaxLogged)
		}
	}
	for i, name := range l.Names {
		if err := dnsserver.CheckName(name); err != nil {
			r.Add(fmt.Sprintf("dns.query_log.names[%d]", i), "%v", err)
		}
	}
}

// checkText accepts printable ASCII.
func checkText(r *config.Report, field, text string, most int) {
	switch {
	case len(text) > most:
		r.Add(field, "%d bytes, more than %d", len(text), most)
	case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }):
		r.Add(field, "%q is not printable ASCII", text)
	}
}

// Settings reads the secrets and returns what a running server may be given, or all
// that is wrong with the files. Without files, random is the one that makes cookies.
func (d DNS) Settings(random cookie.Secret) (dnsserver.Settings, []config.Fault) {
	secrets, faults := d.Cookies.read()
	if len(secrets) == 0 {
		secrets = []cookie.Secret{random}
	}
	zone, more := d.Transfer.settings()
	return dnsserver.Settings{
		UDPPayload:     d.UDPPayload,
		QueryLog:       dnsserver.QueryLog(d.QueryLog),
		RequireCookies: d.Cookies.Require,
		MaxConnections: d.TCP.MaxConnections, MaxPerAddress: d.TCP.MaxPerAddress, Idle: d.TCP.Idle,
		Cookies:  cookie.NewKeys(secrets[0], secrets[1:]...),
		NSID:     d.NSID,
		Identity: lookup.Identity{Version: d.Chaos.Version, ID: d.Chaos.ID},
		Transfer: zone,
	}, append(faults, more...)
}

func (c Cookies) read() (secrets []cookie.Secret, faults []config.Fault) {
	for i, path := range c.SecretFiles {
		secret, err := readSecret(string(path))
		if err == nil && slices.Contains(secrets, secret) {
			err = errors.New("holds the same secret as a file before it")
		}
		if err != nil {
			faults = append(faults, config.Fault{Place: string(path), Field: fmt.Sprintf("dns.cookies.secret_files[%d]", i), Detail: err.Error()})
			continue
		}
		secrets = append(secrets, secret)
	}
	return secrets, faults
}

// readSecret reads one secret. The error contains nothing of it.
func readSecret(path string) (cookie.Secret, error) {
	text, err := readSecretText(path)
	if err != nil {
		return cookie.Secret{}, err
	}
	return cookie.ParseSecret(text)
}

// readSecretText reads a file that holds a secret and little else.
func readSecretText(path string) (string, error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(f, maxSecretFile)); err == nil {
			return string(text), nil
		}
	}
	if why, ok := errors.AsType[*os.PathError](err); ok {
		err = why.Err
	}
	return "", fmt.Errorf("can't be read: %w", err)
}
