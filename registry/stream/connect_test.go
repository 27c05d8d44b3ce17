package stream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestConnectWaitsOnlyAsLongAsItMay(t *testing.T) {
	s := streamtest.Start(t)
	stopped := streamtest.Stop(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := stream.Connect(ctx, stream.ConnectConfig{Servers: []string{s.ClientURL()}, Name: "test"})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("Connect() = %v after %v", err, time.Since(began))
	}
	connected, waits := make(chan error, 1), make(chan struct{})
	go func() {
		c, err := stream.Connect(t.Context(), stream.ConnectConfig{
			Servers: []string{s.ClientURL()}, Name: "test", Waits: func(error) { close(waits) },
		})
		if err == nil {
			c.Close()
		}
		connected <- err
	}()
	select {
	case <-waits: // once, or it would panic
	case <-time.After(20 * time.Second):
		t.Fatal("nobody is told that there is no server")
	}
	time.Sleep(300 * time.Millisecond)
	streamtest.StartAgain(t, stopped)
	if err := <-connected; err != nil {
		t.Errorf("Connect() when the server comes: %v", err)
	}
	c, err := stream.Connect(t.Context(), stream.ConnectConfig{
		Servers: []string{s.ClientURL()}, Name: "test", Waits: func(err error) { t.Errorf("it waits although the server is there: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestConnectRefusesWhatCannotWork(t *testing.T) {
	for name, config := range map[string]stream.ConnectConfig{
		"no server":      {},
		"no credentials": {Servers: []string{"nats://127.0.0.1:1"}, Credentials: "does-not-exist"},
		"no ca":          {Servers: []string{"nats://127.0.0.1:1"}, CA: "does-not-exist"},
		"no key":         {Servers: []string{"nats://127.0.0.1:1"}, Cert: "does-not-exist"},
		"no certificate": {Servers: []string{"nats://127.0.0.1:1"}, Cert: "does-not-exist", Key: "does-not-exist"},
		"bad url":        {Servers: []string{"nats://["}},
	} {
		began := time.Now()
		if c, err := stream.Connect(t.Context(), config); err == nil {
			c.Close()
			t.Errorf("%s: connected", name)
		}
		if time.Since(began) > time.Second {
			t.Errorf("%s: refused after %v", name, time.Since(began))
		}
	}
}

func TestConnectInProcess(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) { o.DontListen = true })
	c, err := stream.Connect(t.Context(), stream.ConnectConfig{InProcess: s, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	streamtest.Create(t, c, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.services(60, "s")...)
	r := record(t, c, stream.StartAt{})
	r.waitFor(t, 5*time.Second, 61)
}

// A server that does not let us in is waited for like one that is away: somebody
// may be putting the credentials right.
func TestConnectWithoutPermission(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) { o.Username, o.Password = "somebody", "secret" })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := stream.Connect(ctx, stream.ConnectConfig{Servers: []string{s.ClientURL()}, Name: "test"})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(strings.ToLower(err.Error()), "authorization") {
		t.Errorf("Connect() = %v, want the server's reason", err)
	}
}

func TestConnectOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	ca.issue(t, dir, "server")
	ca.issue(t, dir, "client")
	other := newAuthority(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	ca.write(t, path("ca.pem"))
	other.write(t, path("other.pem"))
	pair, err := tls.LoadX509KeyPair(path("server.pem"), path("server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
		o.TLS, o.TLSVerify = true, true
	})
	good := stream.ConnectConfig{
		Servers: []string{s.ClientURL()}, Name: "test", CA: path("ca.pem"), Cert: path("client.pem"), Key: path("client-key.pem"),
	}
	for name, test := range map[string]struct {
		change func(*stream.ConnectConfig)
		works  bool
	}{
		"good":           {func(*stream.ConnectConfig) {}, true},
		"other ca":       {func(c *stream.ConnectConfig) { c.CA = path("other.pem") }, false},
		"no certificate": {func(c *stream.ConnectConfig) { c.Cert, c.Key = "", "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			test.change(&config)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if test.works {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
			}
			defer cancel()
			c, err := stream.Connect(ctx, config)
			if err == nil {
				c.Close()
			}
			if (err == nil) != test.works {
				t.Errorf("Connect() = %v", err)
			}
		})
	}
}

// authority issues certificates for a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	der         []byte
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate: certificate, key: key, der: der, serial: 1}
}

func (a *authority) write(t *testing.T, file string) {
	t.Helper()
	writePEM(t, file, "CERTIFICATE", a.der)
}

// issue writes name.pem and name-key.pem.
func (a *authority) issue(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der)
	writePEM(t, filepath.Join(dir, name+"-key.pem"), "EC PRIVATE KEY", private)
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
