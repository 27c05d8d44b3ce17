package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
)

// Transfer says who may transfer the zone, and who is told of its changes.
type Transfer struct {
	Keys   []TransferKey  `yaml:"keys"`
	Allow  []netip.Prefix `yaml:"allow" help:"networks from which the zone may be transferred; nobody by default"`
	Notify []Secondary    `yaml:"notify" help:"secondaries that are told of changes, as ADDRESS:PORT, or 'ADDRESS:PORT KEY' to sign with a key"`
}

// TransferKey is a TSIG key whose secret stands in a file, in base64.
type TransferKey struct {
	Name       string      `yaml:"name"`
	Algorithm  string      `yaml:"algorithm" default:"hmac-sha256"`
	SecretFile config.Path `yaml:"secret_file"`
}

// Secondary is an address that is told of changes, and perhaps the name of the key
// that the message is signed with.
type Secondary transfer.Target

// UnmarshalText reads "192.0.2.53:53" or "192.0.2.53:53 xfr".
func (s *Secondary) UnmarshalText(text []byte) error {
	address, key, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	parsed, err := netip.ParseAddrPort(address)
	if err != nil || parsed.Port() == 0 {
		return fmt.Errorf("%q is no address of a secondary; write an IP address and a port, for example 192.0.2.53:53 or [2001:db8::53]:53", text)
	}
	s.Address, s.Key = parsed, ""
	if key = strings.TrimSpace(key); key != "" {
		s.Key = keyName(key)
	}
	return nil
}

func keyName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

// Bounds of the section.
const (
	maxTransferKeys = 64
	maxAllowed      = 1000
	maxSecondaries  = 64
)

// check adds to the report what is wrong with the section.
func (t *Transfer) check(r *config.Report) {
	for field, count := range map[string][2]int{
		"keys": {len(t.Keys), maxTransferKeys}, "allow": {len(t.Allow), maxAllowed}, "notify": {len(t.Notify), maxSecondaries},
	} {
		if count[0] > count[1] {
			r.Add("dns.transfer."+field, "%d entries, more than %d", count[0], count[1])
		}
	}
	var names []string
	for i, k := range t.Keys {
		at := fmt.Sprintf("dns.transfer.keys[%d]", i)
		if _, err := tsig.NewKey(k.Name, string(tsig.HMACSHA256), make([]byte, 64)); err != nil {
			r.Add(at+".name", "%q is no name of a key; write a domain name, for example xfr", k.Name)
		} else if slices.Contains(names, keyName(k.Name)) {
			r.Add(at+".name", "the key %s is given twice", k.Name)
		}
		if _, err := tsig.NewKey("k", k.Algorithm, make([]byte, 64)); err != nil {
			r.Add(at+".algorithm", "%q is not supported; write hmac-sha256 or hmac-sha512", k.Algorithm)
		}
		if k.SecretFile == "" {
			r.Add(at+".secret_file", "no file is named; it holds the secret in base64, as tsig-keygen and keymgr make it")
		}
		names = append(names, keyName(k.Name))
	}
	for i, s := range t.Notify {
		at := fmt.Sprintf("dns.transfer.notify[%d]", i)
		if s.Key != "" && !slices.Contains(names, s.Key) {
			r.Add(at, "the key %s is not among dns.transfer.keys", s.Key)
		}
		if slices.ContainsFunc(t.Notify[:i], func(o Secondary) bool { return o.Address == s.Address }) {
			r.Add(at, "%v is given twice", s.Address)
		}
	}
}

// settings reads the secrets and returns what a running server may be given, or all
// that is wrong with the files.
func (t *Transfer) settings() (transfer.Settings, []config.Fault) {
	s := transfer.Settings{Allow: t.Allow}
	for _, target := range t.Notify {
		s.Notify = append(s.Notify, transfer.Target(target))
	}
	var faults []config.Fault
	for i, k := range t.Keys {
		key, err := k.read()
		if err != nil {
			faults = append(faults, config.Fault{Place: string(k.SecretFile), Field: fmt.Sprintf("dns.transfer.keys[%d].secret_file", i), Detail: err.Error()})
			continue
		}
		s.Keys = append(s.Keys, key)
	}
	return s, faults
}

// read makes the key. The error contains nothing of the secret.
func (k *TransferKey) read() (tsig.Key, error) {
	text, err := readSecretText(string(k.SecretFile))
	if err != nil {
		return tsig.Key{}, err
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return tsig.Key{}, errors.New("holds no secret in base64")
	}
	key, err := tsig.NewKey(k.Name, k.Algorithm, secret)
	if err != nil {
		return tsig.Key{}, errors.New(strings.TrimPrefix(err.Error(), "tsig: "))
	}
	return key, nil
}
