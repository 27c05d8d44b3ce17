package transfer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/tsig"
)

// Settings say who may have the zone, and who is told of changes. The zero Settings
// allow nobody and tell nobody.
type Settings struct {
	// Allow holds the networks whose addresses may transfer the zone. Without any,
	// nobody may.
	Allow []netip.Prefix

	// Keys are what requests may be signed with. When there is any, a transfer needs
	// one besides an allowed address.
	Keys tsig.Keys

	// Notify holds the secondaries that are told of changes, at most 64.
	Notify []Target

	AtOnce  int           // transfers over TCP that run at one time; 10
	Longest time.Duration // a transfer may take; 15 min
}

// Target is a secondary that is told of changes.
type Target struct {
	Address netip.AddrPort
	Key     string // with which the message is signed; "" for none
}

// Bounds of the settings.
const maxTargets = 64

// Checked returns the settings with their defaults, or what is wrong with them.
func (s Settings) Checked() (Settings, error) {
	if s.AtOnce == 0 {
		s.AtOnce = 10
	}
	if s.Longest == 0 {
		s.Longest = 15 * time.Minute
	}
	if s.AtOnce < 0 || s.Longest < 0 {
		return s, errors.New("transfer: a limit is negative")
	}
	if err := s.Keys.Check(); err != nil {
		return s, err
	}
	for _, p := range s.Allow {
		if !p.IsValid() {
			return s, errors.New("transfer: a network that is none")
		}
	}
	if len(s.Notify) > maxTargets {
		return s, fmt.Errorf("transfer: %d secondaries to tell, more than %d", len(s.Notify), maxTargets)
	}
	for n, target := range s.Notify {
		if !target.Address.IsValid() || target.Address.Port() == 0 {
			return s, fmt.Errorf("transfer: %v is no address and port of a secondary", target.Address)
		}
		if _, known := s.Keys.Find(target.Key); target.Key != "" && !known {
			return s, fmt.Errorf("transfer: %v is to be told with the key %s, which is not known", target.Address, target.Key)
		}
		if slices.ContainsFunc(s.Notify[:n], func(t Target) bool { return t.Address == target.Address }) {
			return s, fmt.Errorf("transfer: %v is to be told twice", target.Address)
		}
	}
	return s, nil
}

// Allows reports whether a client may have the zone. Signed says that its request
// is, with one of the keys.
func (s *Settings) Allows(client netip.Addr, signed bool) bool {
	client = client.Unmap().WithZone("")
	return (signed || len(s.Keys) == 0) &&
		slices.ContainsFunc(s.Allow, func(p netip.Prefix) bool { return p.Contains(client) })
}
