package stream

import (
	"fmt"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
)

// The grammar of subjects. The token after the version is always the writer.
//
//	mesh.v1.<cluster>.svc.<namespace>.<name>
//	mesh.v1.<cluster>.cluster
//	mesh.v1.<writer>.epoch
//	mesh.v1.<writer>.snapshot
//	mesh.v1.<writer>.note.<kind>
//	mesh.v1._observer.state.<cluster>
//	mesh.v1._operator.zone
//	mesh.v1._operator.order.<kind>.<target…>
//	mesh.v1.<writer>.lease                     (in LeaseStream)
//	mesh.v1.<vantage>.probe.<cluster>          (in LeaseStream)
const root = "mesh.v1."

// eventSubjects are the filters of [EventsStream]. They name each kind, so that
// no sign of life is among them.
func eventSubjects() []string {
	return []string{
		root + "*.svc.*.*", root + "*.cluster", root + "*.epoch", root + "*.snapshot", root + "*.note.*",
		root + string(registry.Observer) + ".state.*",
		root + string(registry.Operator) + ".zone",
		root + string(registry.Operator) + ".order.>",
	}
}

// leaseSubjects are the filters of [LeaseStream].
func leaseSubjects() []string { return []string{root + "*.lease", root + "*.probe.*"} }

// treeOf is the filter for all that one writer owns.
func treeOf(w registry.Writer) string { return root + string(w) + ".>" }

// ordersFor is the filter for what is asked of one target.
func ordersFor(target string) string {
	return root + string(registry.Operator) + ".order.*." + target
}

// Subject returns the subject of a fact. A fact that its writer can't own, or
// whose names have no place in a subject, is an error.
func Subject(f registry.Fact) (string, error) {
	if _, err := registry.ParseWriter(string(f.Writer)); err != nil {
		return "", fmt.Errorf("subject: %w", err)
	}
	cluster, own := f.Writer.Cluster()
	switch head := root + string(f.Writer) + "."; {
	case f.Kind == registry.KindService && own:
		key, err := registry.ParseServiceKey(f.Service.Namespace, f.Service.Name)
		if err != nil {
			return "", fmt.Errorf("subject of a service of %s: %w", cluster, err)
		}
		return head + "svc." + encodeToken(key.Namespace) + "." + encodeToken(key.Name), nil
	case f.Kind == registry.KindCluster && own:
		return head + "cluster", nil
	case f.Kind == registry.KindEpoch, f.Kind == registry.KindSnapshot:
		return head + string(f.Kind), nil
	case f.Kind == registry.KindNote && areLabels(f.Name, 1):
		return head + "note." + f.Name, nil
	case f.Kind == registry.KindState && f.Writer == registry.Observer && areLabels(f.Name, 1):
		return head + "state." + f.Name, nil
	case f.Kind == registry.KindZone && f.Writer == registry.Operator:
		return head + "zone", nil
	case f.Kind == registry.KindOrder && f.Writer == registry.Operator && areLabels(f.Name, 2):
		return head + "order." + f.Name, nil
	}
	return "", fmt.Errorf("subject: %s can own no fact of kind %q named %q", f.Writer, clip(string(f.Kind)), clip(f.Name))
}

// ParseSubject is the inverse of [Subject]. It accepts exactly what Subject
// returns: an encoding other than the canonical one is an error, so that no fact
// has two subjects.
func ParseSubject(s string) (registry.Fact, error) {
	var f registry.Fact
	tail, ok := strings.CutPrefix(s, root)
	if !ok || len(s) > maxSubject {
		return f, fmt.Errorf("%q is no subject of the mesh", clip(s))
	}
	writer, tail, _ := strings.Cut(tail, ".")
	kind, rest, more := strings.Cut(tail, ".")
	f.Writer = registry.Writer(writer)
	switch kind {
	case "svc":
		f.Kind = registry.KindService
		namespace, name, _ := strings.Cut(rest, ".")
		f.Service = registry.ServiceKey{Namespace: decodeToken(namespace), Name: decodeToken(name)}
	case "note", "state", "order":
		f.Kind, f.Name = registry.Kind(kind), rest
	case "cluster", "epoch", "snapshot", "zone":
		f.Kind = registry.Kind(kind)
		if more {
			return registry.Fact{}, fmt.Errorf("%q is no subject of the mesh", clip(s))
		}
	default:
		return registry.Fact{}, fmt.Errorf("%q is no subject of the mesh", clip(s))
	}
	if canonical, err := Subject(f); err != nil || canonical != s {
		return registry.Fact{}, fmt.Errorf("%q is no subject of the mesh", clip(s))
	}
	return f, nil
}

// maxSubject bounds a subject in bytes: the longest that [Subject] returns is
// below it, and a protocol line of the server (4096) has room for two.
const maxSubject = 1700

// LeaseSubject returns the subject of a writer's sign of life.
func LeaseSubject(w registry.Writer) string { return root + string(w) + ".lease" }

// parseLeaseSubject is the inverse of [LeaseSubject].
func parseLeaseSubject(s string) (registry.Writer, bool) {
	w, err := registry.ParseWriter(strings.TrimSuffix(strings.TrimPrefix(s, root), ".lease"))
	return w, err == nil && LeaseSubject(w) == s
}

// ProbeSubject returns the subject of what one vantage point (see
// [registry.ParseVantage]) sees of a cluster's gateways.
func ProbeSubject(vantage string, cluster registry.ClusterID) string {
	return root + vantage + ".probe." + string(cluster)
}

// parseProbeSubject is the inverse of [ProbeSubject].
func parseProbeSubject(s string) (vantage string, cluster registry.ClusterID, ok bool) {
	first, second, _ := strings.Cut(strings.TrimPrefix(s, root), ".probe.")
	vantage, err := registry.ParseVantage(first)
	if err != nil {
		return "", "", false
	}
	cluster, err = registry.ParseClusterID(second)
	return vantage, cluster, err == nil && ProbeSubject(vantage, cluster) == s
}

// encodeToken keeps a-z, 0-9, "_" and "-", and writes every other byte as "=" and
// two upper-case hexadecimal digits.
func encodeToken(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && keeps(s[i])
	}
	if plain {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; keeps(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// decodeToken undoes encodeToken. What encodeToken never returns becomes some
// other text or "": the caller compares what that text encodes to.
func decodeToken(s string) string {
	if strings.IndexByte(s, '=') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return ""
		}
		b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
		i += 2
	}
	return string(b)
}

func keeps(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0
}

// areLabels reports whether s is at least n lower-case DNS labels joined by dots;
// exactly one when n is 1.
func areLabels(s string, n int) bool {
	labels := strings.Split(s, ".")
	if len(labels) < n || n == 1 && len(labels) != 1 || len(s) > 600 {
		return false
	}
	for _, label := range labels {
		if _, err := registry.ParseClusterID(label); err != nil { // the same rule
			return false
		}
	}
	return true
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) > 96 {
		return s[:96] + "…"
	}
	return s
}
