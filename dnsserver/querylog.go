package dnsserver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/packet"
)

// QueryLog says which answered queries are written to the log, for whoever looks for a
// fault; a zone transfer when it has ended. What gets no answer is not logged, but
// counted ([Drop]). It costs only those who are asked about, so it may be turned on in
// production.
type QueryLog struct {
	Names     []string       // domain names: queries for them, or for anything below, in any case of letters; empty: all
	Clients   []netip.Prefix // queries from there; empty: all
	PerSecond int            // most lines in a second; 10. What is beyond is counted in the next line
}

// On reports whether anything is to be logged: one of the lists has to name something.
func (l QueryLog) On() bool { return len(l.Names)+len(l.Clients) > 0 }

// Bounds of a [QueryLog].
const (
	MaxLogged          = 100 // names, and clients
	MaxLoggedPerSecond = 1000
)

// CheckName tells what is wrong with a domain name; it may lack the dot at its end.
func CheckName(name string) error {
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return fmt.Errorf("%.300q is no domain name", name)
	}
	return nil
}

// checked returns the settings with their defaults, and names in the form that they are
// compared in.
func (l QueryLog) checked() (QueryLog, error) {
	byDefault(&l.PerSecond, 10)
	if l.PerSecond < 0 || l.PerSecond > MaxLoggedPerSecond {
		return l, fmt.Errorf("dnsserver: query log: %d lines a second are not within 1 and %d", l.PerSecond, MaxLoggedPerSecond)
	}
	if len(l.Names) > MaxLogged || len(l.Clients) > MaxLogged {
		return l, fmt.Errorf("dnsserver: query log: more than %d names or clients", MaxLogged)
	}
	l.Names = slices.Clone(l.Names)
	for n, name := range l.Names {
		if err := CheckName(name); err != nil {
			return l, fmt.Errorf("dnsserver: query log: %w", err)
		}
		l.Names[n] = dns.CanonicalName(name)
	}
	if slices.ContainsFunc(l.Clients, func(p netip.Prefix) bool { return !p.IsValid() }) {
		return l, errors.New("dnsserver: query log: a client is no network")
	}
	return l, nil
}

// matches reports whether a query is to be logged. The name is in lower case.
func (l *QueryLog) matches(name string, client netip.Addr) bool {
	inside := func(zone string) bool {
		return zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
	}
	contains := func(p netip.Prefix) bool { return p.Contains(client) }
	return (len(l.Clients) == 0 || slices.ContainsFunc(l.Clients, contains)) && (len(l.Names) == 0 || slices.ContainsFunc(l.Names, inside))
}

// rationed lets so many lines a second pass. The zero value is ready; any number of
// goroutines may use it.
type rationed struct {
	second  atomic.Int64
	lines   atomic.Int64
	skipped atomic.Int64 // since the last line that passed
}

func (r *rationed) pass(now time.Time, perSecond int) (skipped int64, ok bool) {
	if second := now.Unix(); r.second.Swap(second) != second {
		r.lines.Store(0)
	}
	if r.lines.Add(1) > int64(perSecond) {
		r.skipped.Add(1)
		return 0, false
	}
	return r.skipped.Swap(0), true
}

// answered is what the log says of an answer besides its query.
type answered struct {
	protocol Protocol
	path     string // fast, complete or transfer
	client   netip.Addr
	rcode    int
	length   int // bytes; of all messages of a transfer that were sent
	serial   uint32
}

// logQuery writes one answered query to the log, if it is asked for and the ration
// lasts. It is called only when [QueryLog.On].
func (s *Server) logQuery(l *QueryLog, query []byte, a answered) {
	q, err := packet.Parse(query)
	if err != nil || !l.matches(q.Name, a.client.WithZone("")) {
		return
	}
	skipped, ok := s.logged.pass(time.Now(), l.PerSecond)
	if !ok {
		return
	}
	s.log.Info("dns query", "client", a.client, "protocol", string(a.protocol), "name", q.Name, "type", dns.Type(q.Type).String(),
		"rcode", rcodeText(a.rcode), "bytes", a.length, "path", a.path, "serial", a.serial, "not_logged", skipped)
}

// serial is that of what is answered now.
func (s *Server) serial() uint32 { return s.table.Load().View().Serial() }
