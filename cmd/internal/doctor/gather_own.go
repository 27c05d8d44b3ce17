package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// shownToNATS reads the credentials and the client's certificate that a daemon's
// configuration names. Those given by its environment or its flags are not seen.
func shownToNATS(path string, text []byte) (File, Certificate) {
	var d struct {
		NATS struct {
			Credentials string `yaml:"credentials"`
			Cert        string `yaml:"cert"`
		} `yaml:"nats"`
	}
	if yaml.Unmarshal(text, &d) != nil {
		return File{}, Certificate{} // the daemon's own check says what is wrong
	}
	at := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(path), name)
	}
	return readCredentials(at(d.NATS.Credentials)), readCertificate(at(d.NATS.Cert))
}

// readCertificate reads until when a file with a certificate and its chain is good.
func readCertificate(path string) Certificate {
	c := Certificate{Where: path}
	if path == "" {
		return c
	}
	text, err := os.ReadFile(path)
	if err != nil {
		c.Err = err
		return c
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.Err = fmt.Errorf("a certificate in it can't be read: %w", err)
			return c
		}
		chain = append(chain, one)
	}
	if len(chain) == 0 {
		c.Err = errors.New("it holds no certificate")
	}
	c.Subject, c.Until = firstToEnd(chain)
	return c
}
