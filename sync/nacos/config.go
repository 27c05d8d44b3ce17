package nacos

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
)

// Config says which Nacos to read, and what of it. It is read by [New] and not
// kept by reference; the functions may be called from any goroutine.
type Config struct {
	// Servers are the Nacos servers, "host:port" of the HTTP API each; an IPv6
	// address stands in brackets. Their gRPC port is 1000 higher. At least one.
	Servers []string
	// ContextPath is the path of the HTTP API; "" means /nacos.
	ContextPath string
	// Namespaces are what is read. At least one.
	Namespaces []Namespace
	// Username and Password log in where Nacos asks for it. Password is called at
	// every log-in, so that a changed secret is picked up; it must be set exactly
	// when Username is.
	Username string
	Password func() (string, error)
	// TLS secures both ports when it is set.
	TLS *TLS
	// Logger is told of changes of state; nil means silence.
	Logger *slog.Logger
	// Refused is told of everything that is left out, and why; may be nil. Only
	// Watch calls it, from one goroutine, and it must not block.
	Refused func(*registry.Refusal)
}

// Namespace is one Nacos namespace.
type Namespace struct {
	// ID is Nacos's own id; "" and "public" both mean the public namespace.
	ID string
	// As is the namespace's name in the mesh. It may be "" for the public
	// namespace, which then is [registry.DefaultNamespace].
	As string
	// Groups are those that are read. At least one.
	Groups []Group
}

// Group is one Nacos group within a namespace.
type Group struct {
	// Name is the group's name, such as DEFAULT_GROUP.
	Name string
	// Suffix is appended to the names of the group's services, because the mesh
	// has no groups. Two groups that share a namespace in the mesh need different
	// suffixes.
	Suffix string
}

// TLS names files (PEM). They are read at every connection, so that renewed ones
// are picked up.
type TLS struct {
	CA   string // whom to trust; "" means the system's authorities
	Cert string // our certificate and its key, both or neither
	Key  string
}

// load reads and checks the files. A nil TLS gives nil.
func (t *TLS) load() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", t.CA)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("certificate and key must be given together, or neither")
	}
	if t.Cert == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", t.Cert, t.Key, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// unit is one group of one namespace: what one list request covers. Units are
// made once per Source and compared by address.
type unit struct {
	order     int    // in the configuration
	namespace string // Nacos's id; "public" for the public one
	as        string
	group     string
	suffix    string
}

// String names the unit as an operator would.
func (u *unit) String() string { return u.namespace + "/" + u.group }

const publicNamespace = "public"

// Validate returns everything that is wrong with the configuration; nothing when
// it is fine. It opens only the TLS files.
func (c Config) Validate() []registry.Fault {
	var faults []registry.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, registry.Fault{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	if len(c.Servers) == 0 {
		fault("servers", "at least one server must be given, as host:port")
	}
	for n, s := range c.Servers {
		if _, _, err := parseServer(s); err != nil {
			fault(fmt.Sprintf("servers.%d", n), "%v", err)
		}
	}
	if c.ContextPath != "" && (!strings.HasPrefix(c.ContextPath, "/") || strings.ContainsAny(c.ContextPath, "?# ")) {
		fault("context_path", "%q is no path: it begins with / and has no query", c.ContextPath)
	}
	if (c.Username == "") != (c.Password == nil) {
		fault("username", "user name and password must be given together, or neither")
	}
	if c.TLS != nil {
		if _, err := c.TLS.load(); err != nil {
			fault("tls", "%v", err)
		}
	}
	_, unitFaults := c.units()
	return append(faults, unitFaults...)
}

// units returns what the lists are asked for, in the order of the configuration.
func (c Config) units() ([]*unit, []registry.Fault) {
	var units []*unit
	var faults []registry.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, registry.Fault{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	if len(c.Namespaces) == 0 {
		fault("namespaces", "at least one namespace must be given")
	}
	type place struct{ a, b string }
	read, lands := make(map[place]string), make(map[place]string)
	for n, namespace := range c.Namespaces {
		at := fmt.Sprintf("namespaces.%d", n)
		id, as := namespace.ID, namespace.As
		if id == "" {
			id = publicNamespace
		}
		if as == "" && id == publicNamespace {
			as = registry.DefaultNamespace
		}
		if strings.ContainsAny(id, " \t\r\n/@") {
			fault(at+".id", "%q is no namespace id", id)
		}
		if as == "" {
			fault(at+".as", "namespace %q needs a name in the mesh", id)
			as = id
		}
		if _, err := registry.ParseServiceKey(as, "service"); err != nil {
			fault(at+".as", "%v", err)
		}
		if len(namespace.Groups) == 0 {
			fault(at+".groups", "at least one group must be given, such as DEFAULT_GROUP")
		}
		for m, group := range namespace.Groups {
			at := fmt.Sprintf("%s.groups.%d", at, m)
			if err := checkGroup(group.Name); err != nil {
				fault(at+".name", "%v", err)
			}
			if _, err := registry.ParseServiceKey(as, "service"+group.Suffix); err != nil {
				fault(at+".suffix", "%q can't end a service's name: %v", group.Suffix, err)
			}
			if first, twice := read[place{id, group.Name}]; twice {
				fault(at+".name", "group %q of namespace %q is read already at %s", group.Name, id, first)
			} else if first, meet := lands[place{as, group.Suffix}]; meet {
				fault(at+".suffix", "its services could meet those of %s: both go to namespace %q with suffix %q; give one another suffix", first, as, group.Suffix)
			}
			read[place{id, group.Name}], lands[place{as, group.Suffix}] = at, at
			units = append(units, &unit{order: len(units), namespace: id, as: as, group: group.Name, suffix: group.Suffix})
		}
	}
	return units, faults
}

// checkGroup refuses what Nacos refuses.
func checkGroup(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the group needs a name, such as DEFAULT_GROUP")
	case len(name) > 128:
		return fmt.Errorf("a group's name has at most 128 bytes, not %d", len(name))
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r) {
			return fmt.Errorf("%q is no group: letters, digits and -_.: are allowed", name)
		}
	}
	return nil
}

// parseServer splits "host:port"; the host of an IPv6 address keeps its
// brackets.
func parseServer(s string) (host string, port uint64, err error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is no server: give host:port, such as 127.0.0.1:8848", s)
	}
	port, err = strconv.ParseUint(text, 10, 16)
	switch {
	case host == "" || strings.ContainsAny(host, "/@ "):
		return "", 0, fmt.Errorf("%q is no server: give host:port without a scheme or path", s)
	case err != nil || port == 0:
		return "", 0, fmt.Errorf("%q: port %q is not within 1 to 65535", s, text)
	case port+grpcOffset > 65535:
		return "", 0, fmt.Errorf("%q: the gRPC port is the HTTP port + %d, which is above 65535", s, grpcOffset)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host, port, nil
}

// grpcOffset is the distance of a Nacos server's gRPC port from its HTTP port.
const grpcOffset = 1000
