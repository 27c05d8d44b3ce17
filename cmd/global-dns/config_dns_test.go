package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/dnsserver"
	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/registry"
)

func TestDNSFaults(t *testing.T) {
	_, faults := load(t, `dns:
  udp_payload: 511
  tcp: {max_connections: 0, max_per_address: -1, idle: 2h}
  cookies: {secret_files: [a, "", b, a]}
  nsid: "`+strings.Repeat("n", 101)+`"
  chaos: {version: "a\u00a0b", id: "ü"}
`)
	want := []string{
		`dns.yaml:2:16: dns.udp_payload: 511 is not within 512 and 4096; 1232 passes every path without fragments`,
		`dns.yaml:3:26: dns.tcp.max_connections: 0 is not within 1 and 1000000`,
		`dns.yaml:3:46: dns.tcp.max_per_address: -1 is not within 1 and 1000000`,
		`dns.yaml:3:56: dns.tcp.idle: 2h0m0s is not within 1s and 1h0m0s`,
		`dns.yaml:4:31: dns.cookies.secret_files[1]: no file is named`,
		`dns.yaml:4:38: dns.cookies.secret_files[3]: the file is given twice`,
		`dns.yaml:5:9: dns.nsid: 101 bytes, more than 100`,
		`dns.yaml:6:20: dns.chaos.version: "a\u00a0b" is not printable ASCII`,
		`dns.yaml:6:36: dns.chaos.id: "ü" is not printable ASCII`,
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Error(diff)
	}
	_, faults = load(t, "dns: {udp_payload: 4097, cookies: {secret_files: [a, b, c, d, e, f, g, h, i]}}\n")
	if len(faults) != 2 || !strings.Contains(faults[1], "9 secrets, more than 8") {
		t.Errorf("got %q", faults)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSecretFiles: whatever is wrong with a file is told with its field, and what it
// holds is not.
func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	const secret, other = "00112233445566778899aabbccddeeff", "0123456789abcdef0123456789abcdef"
	for name, text := range map[string]string{"good": secret + "\n", "same": secret, "other": "\t" + other, "short": secret[1:], "wrong": "xx" + secret[2:], "long": strings.Repeat(secret, 1000), "empty": ""} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	files := func(names string) string {
		var paths []string
		for name := range strings.FieldsSeq(names) {
			paths = append(paths, filepath.Join(dir, name))
		}
		return "dns: {cookies: {secret_files: [" + strings.Join(paths, ", ") + "]}}\n"
	}
	c := mustLoad(t, files("good same short wrong long empty none ."))
	_, faults := c.DNS.Settings(cookie.Secret{})
	want := []string{
		"same: dns.cookies.secret_files[1]: holds the same secret as a file before it",
		"short: dns.cookies.secret_files[2]: a cookie secret has 32 hexadecimal digits, not 31 characters",
		"wrong: dns.cookies.secret_files[3]: a cookie secret has hexadecimal digits only",
		"long: dns.cookies.secret_files[4]: a cookie secret has 32 hexadecimal digits, not 1024 characters",
		"empty: dns.cookies.secret_files[5]: a cookie secret has 32 hexadecimal digits, not 0 characters",
		"none: dns.cookies.secret_files[6]: can't be read: no such file or directory",
		": dns.cookies.secret_files[7]: can't be read: is a directory",
	}
	var got []string
	for _, f := range faults {
		got = append(got, strings.TrimPrefix(strings.ReplaceAll(f.String(), dir+"/", ""), dir))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, faults := mustLoad(t, files("good other")).DNS.Settings(cookie.Secret{}); len(faults) > 0 {
		t.Error(faults)
	}
}

// identify asks a server for id.server in class CH and returns the reply as it is.
func identify(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02id\x06server\x00\x00\x10\x00\x03")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	reply := make([]byte, 512)
	n, err := conn.Read(reply)
	if err != nil {
		t.Fatal(err)
	}
	return string(reply[:n])
}

// TestReload: a changed configuration takes effect on the running server, or is
// refused as a whole.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "dns.yaml"), filepath.Join(dir, "secret")
	write := func(id, more string) {
		writeFile(t, path, "dns: {listen: [\"127.0.0.1:0\"], chaos: {id: "+id+"}"+more+"}\n")
	}
	writeFile(t, secret, "00112233445566778899aabbccddeeff")
	write("one", ", cookies: {secret_files: [secret]}")

	var logged bytes.Buffer
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	p := &proc.Process{Input: proc.Input{Path: path, Flags: flags}, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	c, faults := Load(p.Path, nil, flags)
	settings, more := c.DNS.Settings(cookie.Secret{})
	if len(faults)+len(more) > 0 {
		t.Fatal(faults, more)
	}
	dns, err := dnsserver.New(dnsserver.Config{Listen: c.DNS.Listen, Settings: settings}, &registry.Store{}, newObserver(proc.NewMetrics("test")), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- dns.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-dns.Listening()
	w := watcher{running: c, dns: dns, conn: &connection{}, logger: p.Logger}
	reload := func(want, says string) {
		t.Helper()
		logged.Reset()
		w.reload(p, "test")
		if reply := identify(t, dns.Addresses()[0].String()); !strings.Contains(reply, want) {
			t.Errorf("the server answers %q, want %s", reply, want)
		}
		if !strings.Contains(logged.String(), says) || says == "" && logged.Len() > 0 {
			t.Errorf("logged %q, want %q", logged.String(), says)
		}
	}
	reload("one", "")
	write("two", ", cookies: {secret_files: [secret]}")
	reload("two", "the settings of dns have changed")
	write("three", ", nsid: \"ü\"")
	reload("two", "is refused")
	write("three", ", cookies: {secret_files: [nowhere]}")
	reload("two", "is refused")
	write("three", ", cookies: {secret_files: [secret]}")
	writeFile(t, secret, "too short")
	reload("two", "is refused")
	writeFile(t, secret, "ffeeddccbbaa99887766554433221100")
	reload("three", "the settings of dns have changed")
	writeFile(t, path, "dns: {listen: [\"127.0.0.1:1\"], chaos: {id: four}}\n")
	reload("three", "need a restart")
}
