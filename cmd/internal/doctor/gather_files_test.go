package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// credentials writes a file as nsc does, with a JWT that ends at a time; zero: never.
func credentials(t *testing.T, until time.Time) string {
	t.Helper()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, subject := streamtest.UserKey(t)
	ends := ""
	if !until.IsZero() {
		ends = fmt.Sprintf(`,"exp":%d`, until.Unix())
	}
	encode := base64.RawURLEncoding.EncodeToString
	body := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode([]byte(`{"name":"ada","sub":"`+subject+`","nats":{"type":"user","version":2}`+ends+`}`))
	signature, err := account.Sign([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("-----BEGIN NATS USER JWT-----\n%s.%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", body, encode(signature), seed)
	path := filepath.Join(t.TempDir(), "ada.creds")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentialsFiles(t *testing.T) {
	t.Parallel()
	junk := filepath.Join(t.TempDir(), "junk.creds")
	if err := os.WriteFile(junk, []byte("nothing of the kind"), 0o600); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for path, want := range map[string]Status{
		"":                                         Healthy,
		credentials(t, time.Time{}):                Healthy,
		credentials(t, time.Now().Add(60*day)):     Healthy,
		credentials(t, time.Now().Add(20*day)):     Warning,
		credentials(t, time.Now().Add(3*day)):      Critical,
		credentials(t, time.Now().Add(-time.Hour)): Critical,
		filepath.Join(t.TempDir(), "none"):         Critical,
		junk:                                       Critical,
	} {
		f := Facts{Credentials: readCredentials(path), Local: time.Now()}
		if found := judgeCredentials(&f); worst(found) != want {
			t.Errorf("%+v, want %s", found, want)
		}
	}
}

// TestWhatDaemonsShowToNATS reads the files that configurations name, beside them.
func TestWhatDaemonsShowToNATS(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	creds := credentials(t, time.Now().Add(20*day+time.Hour))
	dir := filepath.Dir(creds)
	der, _ := selfSigned(t, "amber", time.Now().Add(3*day+time.Hour))
	for name, text := range map[string]string{
		"amber.pem":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"junk.pem":   "nothing of the kind",
		"agent.yaml": "cluster: amber\nnats: {credentials: ada.creds, cert: amber.pem, key: amber.key}\nsource: {file: {path: services.yaml}}\n",
		"dns.yaml":   "nats: {credentials: gone.creds, cert: junk.pem, key: junk.key}\n",
		"none.yaml":  "cluster: amber\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configs := []string{filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "dns.yaml"), filepath.Join(dir, "none.yaml")}
	e := examine(t, Options{NATS: "nats://127.0.0.1:1", DNS: []string{"127.0.0.1:1"}, Configs: configs}, Credentials)
	e.says("credentials/credentials", Warning, "ada.creds (user ada), of "+configs[0]+" expires in 20 days")
	e.says("credentials/credentials", Unknown, "gone.creds")
	e.says("credentials/certificates", Critical, "amber.pem (CN=amber), of "+configs[0]+" expires in 3 days")
	e.says("credentials/certificates", Critical, "it holds no certificate")
	for _, f := range e.report.Findings {
		if strings.Contains(f.Description, "none.yaml") {
			t.Errorf("%+v", f)
		}
	}
}

// selfSigned makes a certificate for 127.0.0.1 that ends at a time.
func selfSigned(t *testing.T, name string, until time.Time) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// TestCertificateOfNATS looks at a server whose certificate ends in twenty days, and
// which nobody here trusts.
func TestCertificateOfNATS(t *testing.T) {
	t.Parallel()
	der, key := selfSigned(t, "nats-1", time.Now().Add(20*24*time.Hour+time.Hour))
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.TLS, o.TLSTimeout = true, 5
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	})
	e := examine(t, Options{NATS: s.ClientURL(), DNS: []string{"127.0.0.1:1"}})
	e.says("credentials/certificates", Warning, "(CN=nats-1) expires in 20 days")
	e.says("nats/reachable", Critical, "NATS is not reached")
	if c := certificate(t.Context(), "nats://127.0.0.1:1", true); c.Err == nil {
		t.Errorf("%+v of a server that is not there", c)
	}
}

// TestGatherEndsInTime asks servers that take connections and say nothing.
func TestGatherEndsInTime(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	began := time.Now()
	mute := l.Addr().String()
	r := Judge(Gather(ctx, Options{NATS: "nats://" + mute, Servers: []string{"http://" + mute}, Agents: []string{"http://" + mute}, DNS: []string{mute}, Transfers: "refused"}), nil)
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("it took %v, and 2 s were given", took)
	}
	if r.Status != Critical {
		t.Errorf("%+v", r)
	}
}
