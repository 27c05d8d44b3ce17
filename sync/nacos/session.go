package nacos

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

const (
	// sdkTimeout bounds one request of the SDK, which tries three times within
	// about as long.
	sdkTimeout = 3 * time.Second
	// lull is how long the SDK's goroutines get after the close before the
	// directory is removed, so that none of them makes it again.
	lull = 150 * time.Millisecond
	// closePatience bounds the waiting for a close.
	closePatience = 2 * time.Second
)

// session is the SDK's side of one Watch or Read: a client for each namespace,
// and the private directory which they write to.
type session struct {
	dir     string
	clients map[string]naming_client.INamingClient // by namespace id
	leave   func()                                 // ends the logging
}

// openSession makes the clients. The caller closes the session.
func (s *Source) openSession(ctx context.Context, files *tlsFiles) (opened *session, err error) {
	dir, err := os.MkdirTemp("", "seamark-nacos-")
	if err != nil {
		return nil, err
	}
	opened = &session{dir: dir, clients: make(map[string]naming_client.INamingClient), leave: sdk.log.join(s.logger)}
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	secure, err := files.write(dir)
	if err != nil {
		return nil, err
	}
	password := ""
	if s.config.Password != nil {
		if password, err = s.config.Password(); err != nil {
			return nil, fmt.Errorf("password of %s: %w", s.config.Username, err)
		}
	}
	for _, u := range s.units {
		if opened.clients[u.namespace] != nil {
			continue
		}
		client, err := sdk.open(ctx, vo.NacosClientParam{
			ServerConfigs: s.servers(secure.Enable),
			ClientConfig: &constant.ClientConfig{
				NamespaceId: u.namespace, TimeoutMs: uint64(sdkTimeout.Milliseconds()),
				Username: s.config.Username, Password: password, TLSCfg: secure,
				// The SDK writes every change to a file and can't be told not to;
				// it would also start from such files if it were let.
				CacheDir: filepath.Join(dir, "cache"), LogDir: filepath.Join(dir, "log"), LogLevel: "error",
				NotLoadCacheAtStart:  true,
				UpdateCacheWhenEmpty: true, // else the last instance never leaves
				AsyncUpdateService:   true, // else a subscription lost in a reconnect stays lost
				UpdateThreadNum:      workers,
			},
		})
		if err != nil {
			return nil, fmt.Errorf("client of namespace %s: %w", u.namespace, err)
		}
		opened.clients[u.namespace] = client
	}
	return opened, nil
}

// servers returns the configured servers as the SDK wants them, in a new slice:
// the SDK writes into it.
func (s *Source) servers(secure bool) []constant.ServerConfig {
	var servers []constant.ServerConfig
	for _, text := range s.config.Servers {
		host, port, err := parseServer(text)
		if err != nil {
			continue // Validate has seen them all
		}
		server := constant.ServerConfig{IpAddr: host, Port: port, GrpcPort: port + grpcOffset, Scheme: "http", ContextPath: s.config.ContextPath}
		if secure {
			server.Scheme = "https"
		}
		servers = append(servers, server)
	}
	return servers
}

// close ends the clients and removes the directory.
func (s *session) close() error {
	defer s.leave()
	var open []naming_client.INamingClient
	for _, c := range s.clients {
		open = append(open, c)
	}
	err := sdk.close(open, closePatience)
	if len(open) > 0 {
		timer := time.NewTimer(lull)
		defer timer.Stop()
		<-timer.C
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// tlsFiles are the checked contents of the files that [TLS] names.
type tlsFiles struct {
	ca, cert, key []byte
	config        *tls.Config // of the open API
}

// load reads and checks the files. A nil TLS gives nil.
func (t *TLS) load() (*tlsFiles, error) {
	if t == nil {
		return nil, nil
	}
	if t.CA == "" {
		return nil, errors.New("a CA file is needed: without one the SDK would trust any server")
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("certificate and key must be given together, or neither")
	}
	f := &tlsFiles{config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}}
	var err error
	if f.ca, err = os.ReadFile(t.CA); err != nil {
		return nil, err
	}
	if !f.config.RootCAs.AppendCertsFromPEM(f.ca) {
		return nil, fmt.Errorf("%s has no certificate in PEM", t.CA)
	}
	if _, err := x509.SystemCertPool(); err != nil { // the SDK loads it, and would end the process
		return nil, fmt.Errorf("the system's certificates: %w", err)
	}
	if t.Cert == "" {
		return f, nil
	}
	if f.cert, err = os.ReadFile(t.Cert); err != nil {
		return nil, err
	}
	if f.key, err = os.ReadFile(t.Key); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", t.Cert, t.Key, err)
	}
	f.config.Certificates = []tls.Certificate{pair}
	return f, nil
}

// write puts copies into dir for the SDK, which reads its files again at every
// connection and ends the process when one of them can't be used at that moment.
func (f *tlsFiles) write(dir string) (constant.TLSConfig, error) {
	c := constant.TLSConfig{Appointed: true} // else the environment would be asked
	if f == nil {
		return c, nil
	}
	c.Enable = true
	for _, file := range []struct {
		name    string
		content []byte
		path    *string
	}{{"ca.pem", f.ca, &c.CaFile}, {"cert.pem", f.cert, &c.CertFile}, {"key.pem", f.key, &c.KeyFile}} {
		if len(file.content) == 0 {
			continue
		}
		*file.path = filepath.Join(dir, file.name)
		if err := os.WriteFile(*file.path, file.content, 0o600); err != nil {
			return c, err
		}
	}
	return c, nil
}

// secure returns the open API's TLS settings; nil without TLS.
func (f *tlsFiles) secure() *tls.Config {
	if f == nil {
		return nil
	}
	return f.config
}
