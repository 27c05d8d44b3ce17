package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// ClusterID names a cluster: a failure domain with one registry and its ingress
// gateways. It is one lower-case DNS label (RFC 1035 §2.3.1, digits first
// allowed by RFC 1123 §2.1), so that it can stand in a name and in a subject.
type ClusterID string

// ParseClusterID checks that s is one lower-case DNS label of at most 63 bytes.
func ParseClusterID(s string) (ClusterID, error) {
	if !isLabel(s) {
		return "", refuse("cluster-id", "%q is not a cluster id: one DNS label of a-z, 0-9 and inner hyphens, at most 63 bytes", clip(s))
	}
	return ClusterID(s), nil
}

// Writer names who owns a tree of subjects: a cluster's agent (then it equals
// that ClusterID), or one of [Observer] and [Operator], which no ClusterID can equal.
type Writer string

// The writers that are no cluster's agent.
const (
	Observer Writer = "_observer" // decides liveness
	Operator Writer = "_operator" // a person, through the seamark command
)

// ParseWriter accepts a ClusterID, [Observer] or [Operator].
func ParseWriter(s string) (Writer, error) {
	if w := Writer(s); w == Observer || w == Operator {
		return w, nil
	}
	c, err := ParseClusterID(s)
	return Writer(c), err
}

// Cluster returns the cluster whose agent w is; ok is false for [Observer] and [Operator].
func (w Writer) Cluster() (id ClusterID, ok bool) {
	if w == Observer || w == Operator || w == "" {
		return "", false
	}
	return ClusterID(w), true
}

// DefaultNamespace is the namespace of services whose registry has none.
const DefaultNamespace = "default"

// MaxNameLength bounds a namespace and a service name, in bytes.
const MaxNameLength = 255

// ServiceKey identifies a service within the mesh, by the names its registry
// uses. It is comparable. Make one with [ParseServiceKey].
type ServiceKey struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// ParseServiceKey validates a namespace and a name as a registry gives them. An
// empty namespace means [DefaultNamespace]. Each is 1 to [MaxNameLength] bytes of
// printable ASCII without spaces and has at least one letter or digit (so that
// "*" and "..." are refused); anything beyond ASCII must already be an A-label
// (RFC 5890), because lookalikes and invisible characters have no place in a name.
func ParseServiceKey(namespace, name string) (ServiceKey, error) {
	if namespace == "" {
		namespace = DefaultNamespace
	}
	if err := checkName("namespace", namespace); err != nil {
		return ServiceKey{}, err
	}
	if err := checkName("service name", name); err != nil {
		return ServiceKey{}, err
	}
	return ServiceKey{Namespace: namespace, Name: name}, nil
}

// String returns "namespace/name".
func (k ServiceKey) String() string { return k.Namespace + "/" + k.Name }

// Compare orders keys by namespace, then name, bytewise.
func (k ServiceKey) Compare(o ServiceKey) int {
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Name, o.Name)
}

// Labels returns the DNS labels under which the service is asked for.
func (k ServiceKey) Labels() Labels {
	return Labels{Namespace: Label(k.Namespace), Name: Label(k.Name)}
}

// Labels is a service's place in the zone: two lower-case DNS labels. Two keys
// whose Labels are equal meet there; see [Name].
type Labels struct {
	Namespace string
	Name      string
}

// Label maps a registry's name to one DNS label by the product's one rule: ASCII
// letters become lower-case; every byte that is not a letter, digit or hyphen
// becomes a hyphen; hyphens at both ends are dropped; what is longer than 63
// bytes keeps its first 54, a hyphen, and the first 8 hex digits of the SHA-256
// of the original name. Names with no letter or digit give "" (and are refused
// by [ParseServiceKey]).
func Label(name string) string {
	if isLabel(name) {
		return name // the common case, without allocation
	}
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		default:
			c = '-'
		}
		b = append(b, c)
	}
	label := strings.Trim(string(b), "-")
	if len(label) <= maxLabel {
		return label
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(label[:54], "-") + "-" + hex.EncodeToString(sum[:4])
}

const maxLabel = 63

// isLabel reports whether s is one lower-case host-name label.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func checkName(what, s string) error {
	if s == "" {
		return refuse("name-empty", "the %s is empty", what)
	}
	if len(s) > MaxNameLength {
		return refuse("name-too-long", "the %s %q… has %d bytes, more than %d", what, clip(s), len(s), MaxNameLength)
	}
	alphanumeric := false
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f:
			return refuse("name-characters", "the %s %q has a space or control character", what, clip(s))
		case c > 0x7f:
			return refuse("name-not-ascii", "the %s %q is not ASCII: register its A-label (xn--…) instead", what, clip(s))
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
			alphanumeric = true
		}
	}
	if !alphanumeric {
		return refuse("name-characters", "the %s %q has no letter or digit", what, clip(s))
	}
	return nil
}

// clip shortens s for a message, so that a hostile value cannot fill a log. It
// does not split a character.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	n := 64
	for n > 60 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
