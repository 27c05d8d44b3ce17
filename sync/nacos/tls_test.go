package nacos

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate makes a certificate that signs itself, and its files.
func certificate(t *testing.T) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return pair, certFile, keyFile
}

func TestTLS(t *testing.T) {
	server, serverFile, _ := certificate(t)
	_, ourFile, ourKey := certificate(t)
	pool := x509.NewCertPool()
	ours, err := os.ReadFile(ourFile)
	if err != nil || !pool.AppendCertsFromPEM(ours) {
		t.Fatal(err)
	}
	f := newFakeTLS(t, &tls.Config{
		Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2", "http/1.1"},
	})
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	source := func(files *TLS) *Source {
		c := oneGroup(t, f.addr)
		c.TLS = files
		s := mustNew(t, c)
		s.timing = quick()
		return s
	}
	s := source(&TLS{CA: serverFile, Cert: ourFile, Key: ourKey})
	watching(t, s).until(t, "orders", "192.0.2.1 passing*1")
	if read, err := s.Read(t.Context()); err != nil || brief(read, "orders") != "192.0.2.1 passing*1" {
		t.Errorf("Read: %v", err)
	}
	for name, files := range map[string]*TLS{
		"without TLS":       nil,
		"another authority": {CA: ourFile, Cert: ourFile, Key: ourKey},
		"the system's":      {Cert: ourFile, Key: ourKey},
		"without our own":   {CA: serverFile},
	} {
		t.Run(name, func(t *testing.T) {
			s := source(files)
			watching(t, s).ends(t, 10*time.Second)
			secure, err := files.load()
			if err != nil {
				t.Fatal(err)
			}
			api := newOpenAPI(s.config, secure)
			defer api.close()
			if c, err := dial(t.Context(), f.addr, secure, publicNamespace, api); err == nil {
				c.close()
				t.Error("gRPC connects")
			}
		})
	}
}
