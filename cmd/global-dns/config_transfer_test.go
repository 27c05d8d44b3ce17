package main

import (
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
)

func TestTransfer(t *testing.T) {
	dir := t.TempDir()
	secret := strings.Repeat("s", 32)
	writeFile(t, filepath.Join(dir, "xfr.secret"), base64.StdEncoding.EncodeToString([]byte(secret))+"\n")
	c := mustLoad(t, `dns:
  transfer:
    keys: [{name: XFR, secret_file: `+filepath.Join(dir, "xfr.secret")+`}]
    allow: [192.0.2.0/24, "2001:db8::53/128"]
    notify: ["192.0.2.53:53", "[2001:db8::53]:5353 xfr."]
`)
	s, faults := c.DNS.Settings(cookie.Secret{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	got := s.Transfer
	if len(got.Keys) != 1 || got.Keys[0].Name() != "xfr." || got.Keys[0].Algorithm() != "hmac-sha256." {
		t.Errorf("keys %v", got.Keys)
	}
	got.Keys = nil
	want := transfer.Settings{
		Allow:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::53/128")},
		Notify: []transfer.Target{{Address: netip.MustParseAddrPort("192.0.2.53:53")}, {Address: netip.MustParseAddrPort("[2001:db8::53]:5353"), Key: "xfr."}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Transfer.Checked(); err != nil {
		t.Error(err)
	}
}

func TestTransferFaults(t *testing.T) {
	_, faults := load(t, `dns:
  transfer:
    keys: [{name: "a b", algorithm: hmac-md5}, {name: xfr, secret_file: a}, {name: Xfr., secret_file: b}]
    allow: [192.0.2.53]
    notify: [192.0.2.53, "192.0.2.53:0", "192.0.2.53:53 other", "192.0.2.53:53"]
`)
	want := []string{
		`dns.yaml:3:12: dns.transfer.keys[0].secret_file: no file is named; it holds the secret in base64, as tsig-keygen and keymgr make it`,
		`dns.yaml:3:19: dns.transfer.keys[0].name: "a b" is no name of a key; write a domain name, for example xfr`,
		`dns.yaml:3:37: dns.transfer.keys[0].algorithm: "hmac-md5" is not supported; write hmac-sha256 or hmac-sha512`,
		`dns.yaml:3:84: dns.transfer.keys[2].name: the key Xfr. is given twice`,
		`dns.yaml:4:13: dns.transfer.allow[0]: "192.0.2.53" is no network; write for example 192.0.2.0/24 or 2001:db8::/32`,
		`dns.yaml:5:14: dns.transfer.notify[0]: "192.0.2.53" is no address of a secondary; write an IP address and a port, for example 192.0.2.53:53 or [2001:db8::53]:53`,
		`dns.yaml:5:26: dns.transfer.notify[1]: "192.0.2.53:0" is no address of a secondary; write an IP address and a port, for example 192.0.2.53:53 or [2001:db8::53]:53`,
		`dns.yaml:5:42: dns.transfer.notify[2]: the key other. is not among dns.transfer.keys`,
		`dns.yaml:5:65: dns.transfer.notify[3]: 192.0.2.53:53 is given twice`,
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Error(diff)
	}
}

// TestTransferSecrets: a file that holds no secret is told with its field before the
// start, and by check; what it holds is not.
func TestTransferSecrets(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "short"), base64.StdEncoding.EncodeToString([]byte("hunter2hunter2")))
	writeFile(t, filepath.Join(dir, "wrong"), "hunter2 hunter2")
	text := "dns: {transfer: {keys: ["
	for _, name := range []string{"none", "short", "wrong"} {
		text += "{name: " + name + ", secret_file: " + filepath.Join(dir, name) + "},"
	}
	c := mustLoad(t, text+"]}}\n")
	var got []string
	for _, f := range c.CheckFiles() {
		got = append(got, strings.ReplaceAll(f.String(), dir+string(os.PathSeparator), ""))
	}
	want := []string{
		"none: dns.transfer.keys[0].secret_file: can't be read: no such file or directory",
		"short: dns.transfer.keys[1].secret_file: the secret has 14 bytes, fewer than 16",
		"wrong: dns.transfer.keys[2].secret_file: holds no secret in base64",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
