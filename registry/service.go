package registry

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Health is what a registry says of one instance. An instance serves while it is
// passing or warning.
type Health string

// The states of health. Unknown means that the registry would not tell; whoever
// publishes replaces it with the health the instance had before, if it had one.
const (
	Passing  Health = "passing"
	Warning  Health = "warning"
	Critical Health = "critical"
	Unknown  Health = "unknown"
)

// ParseHealth accepts the four states and, as [Passing], the empty string.
func ParseHealth(s string) (Health, error) {
	switch h := Health(s); h {
	case Passing, Warning, Critical, Unknown:
		return h, nil
	case "":
		return Passing, nil
	}
	return "", refuse("health", "%q is no health: use passing, warning, critical or unknown", clip(s))
}

// Bounds of one instance. Consul's own bounds for metadata are the same.
const (
	MaxInstances = 20000 // per service and cluster
	MaxIDLength  = 512   // bytes
	MaxAddress   = 255   // bytes
	MaxVersion   = 128   // bytes
	MaxMetaPairs = 64
	MaxMetaKey   = 128 // bytes
	MaxMetaValue = 512 // bytes
	MaxWeight    = 65535
)

// Instance is one endpoint of a service. Its address is information for people
// and auditors: Seamark answers with gateways, never with instances.
type Instance struct {
	ID      string            `json:"id"`
	Address string            `json:"address"` // an IP address or host name
	Port    int               `json:"port"`    // 0 to 65535; 0 = none
	Weight  int               `json:"weight"`  // 0 to MaxWeight; 0 takes no traffic
	Health  Health            `json:"health"`
	Version string            `json:"version,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
}

// Serves reports whether the instance can take traffic: passing or warning, with
// a weight above 0.
func (i Instance) Serves() bool {
	return i.Weight > 0 && (i.Health == Passing || i.Health == Warning)
}

// Equal compares every field.
func (i Instance) Equal(o Instance) bool {
	return i.ID == o.ID && i.Address == o.Address && i.Port == o.Port && i.Weight == o.Weight &&
		i.Health == o.Health && i.Version == o.Version && maps.Equal(i.Meta, o.Meta)
}

// Service is all instances of one service in one cluster at one moment, sorted
// by instance ID, each ID once. A Service made by [CleanService] satisfies the
// bounds above.
type Service struct {
	Key       ServiceKey
	Instances []Instance

	// Redacted counts the metadata pairs that were withheld before the service left
	// its cluster. It is told in the history, and is no part of what the service is.
	Redacted int
}

// Serving counts the instances that can take traffic.
func (s Service) Serving() int {
	n := 0
	for i := range s.Instances {
		if s.Instances[i].Serves() {
			n++
		}
	}
	return n
}

// Equal compares key and instances.
func (s Service) Equal(o Service) bool {
	return s.Key == o.Key && slices.EqualFunc(s.Instances, o.Instances, Instance.Equal)
}

// CleanService is the door for what a registry says of one service. It sorts the
// instances, keeps those that are valid, and tells what it refused: an instance
// without a usable id, address or port (the rest of the service stands), metadata
// beyond the bounds (the instance stands without that pair), a second instance
// with an id already seen (the first in the sorted order stands). The given slice
// is not kept; an invalid key is refused whole, with ok false.
func CleanService(namespace, name string, instances []Instance) (s Service, refused []*Refusal, ok bool) {
	key, err := ParseServiceKey(namespace, name)
	if err != nil {
		return Service{}, []*Refusal{err.(*Refusal)}, false
	}
	s.Key = key
	s.Instances = make([]Instance, 0, min(len(instances), MaxInstances))
	for _, i := range instances {
		i, notes, valid := cleanInstance(i)
		refused = append(refused, notes...)
		if valid {
			s.Instances = append(s.Instances, i)
		}
	}
	slices.SortFunc(s.Instances, compareInstances)
	s.Instances = slices.CompactFunc(s.Instances, func(a, b Instance) bool {
		if a.ID == b.ID {
			refused = append(refused, refuse("instance-duplicate", "%s: instance id %q is given twice", key, clip(a.ID)))
			return true
		}
		return false
	})
	if n := len(s.Instances); n > MaxInstances {
		refused = append(refused, refuse("instances-too-many", "%s has %d instances, more than %d: the first by id are kept", key, n, MaxInstances))
		s.Instances = s.Instances[:MaxInstances:MaxInstances]
	}
	return s, refused, true
}

// compareInstances orders by id; equal ids by the rest, so that which duplicate
// stands does not depend on the order in which a registry lists them.
func compareInstances(a, b Instance) int {
	if c := strings.Compare(a.ID, b.ID); c != 0 {
		return c
	}
	return cmp.Or(
		strings.Compare(a.Address, b.Address),
		cmp.Compare(a.Port, b.Port),
		strings.Compare(string(a.Health), string(b.Health)),
		cmp.Compare(a.Weight, b.Weight),
		strings.Compare(a.Version, b.Version),
		compareMeta(a.Meta, b.Meta),
	)
}

func compareMeta(a, b map[string]string) int {
	keysA, keysB := slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))
	if c := slices.Compare(keysA, keysB); c != 0 {
		return c
	}
	for _, k := range keysA {
		if c := strings.Compare(a[k], b[k]); c != 0 {
			return c
		}
	}
	return 0
}

func cleanInstance(i Instance) (Instance, []*Refusal, bool) {
	if r := checkInstance(i); r != nil {
		return Instance{}, []*Refusal{r}, false
	}
	if r := checkMeta(i.Meta); r == nil {
		if len(i.Meta) == 0 {
			i.Meta = nil
		}
		return i, nil, true
	}
	var refused []*Refusal
	kept := make(map[string]string)
	for _, k := range slices.Sorted(maps.Keys(i.Meta)) {
		v := i.Meta[k]
		switch {
		case len(kept) == MaxMetaPairs:
			refused = append(refused, refuse("metadata-too-many", "instance %q: more than %d metadata pairs; %q is left out", clip(i.ID), MaxMetaPairs, clip(k)))
		case k == "" || len(k) > MaxMetaKey || len(v) > MaxMetaValue:
			refused = append(refused, refuse("metadata-too-large", "instance %q: metadata %q has a key of %d and a value of %d bytes; %d and %d are the most", clip(i.ID), clip(k), len(k), len(v), MaxMetaKey, MaxMetaValue))
		case !utf8.ValidString(k) || !utf8.ValidString(v):
			refused = append(refused, refuse("metadata-not-utf8", "instance %q: metadata %q is not UTF-8", clip(i.ID), clip(k)))
		default:
			kept[k] = v
		}
	}
	if len(refused) > 4 { // one hostile instance must not make a thousand log lines
		refused = refused[:4]
	}
	if i.Meta = kept; len(kept) == 0 {
		i.Meta = nil
	}
	return i, refused, true
}

func checkInstance(i Instance) *Refusal {
	switch {
	case i.ID == "" || len(i.ID) > MaxIDLength || !printable(i.ID):
		return refuse("instance-id", "instance id %q: 1 to %d bytes of printable text are allowed", clip(i.ID), MaxIDLength)
	case i.Address == "" || len(i.Address) > MaxAddress || !printable(i.Address) || strings.ContainsAny(i.Address, " /\\"):
		return refuse("instance-address", "instance %q: %q is no address", clip(i.ID), clip(i.Address))
	case i.Port < 0 || i.Port > 65535:
		return refuse("instance-port", "instance %q: port %d is not within 0 to 65535", clip(i.ID), i.Port)
	case i.Weight < 0 || i.Weight > MaxWeight:
		return refuse("instance-weight", "instance %q: weight %d is not within 0 to %d", clip(i.ID), i.Weight, MaxWeight)
	case len(i.Version) > MaxVersion || !printable(i.Version):
		return refuse("instance-version", "instance %q: version %q is longer than %d bytes or not printable", clip(i.ID), clip(i.Version), MaxVersion)
	}
	switch i.Health {
	case Passing, Warning, Critical, Unknown:
		return nil
	}
	return refuse("health", "instance %q: %q is no health", clip(i.ID), clip(string(i.Health)))
}

func checkMeta(meta map[string]string) *Refusal {
	if len(meta) > MaxMetaPairs {
		return refuse("metadata-too-many", "%d metadata pairs, more than %d", len(meta), MaxMetaPairs)
	}
	for k, v := range meta {
		if k == "" || len(k) > MaxMetaKey || len(v) > MaxMetaValue || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return refuse("metadata-too-large", "metadata %q has a key of %d and a value of %d bytes; %d and %d of UTF-8 are the most", clip(k), len(k), len(v), MaxMetaKey, MaxMetaValue)
		}
	}
	return nil
}

// printable reports whether s is UTF-8 without control characters and without
// those that turn the direction of the text around: what it looks like in a
// terminal or a log is what it is.
func printable(s string) bool {
	ascii := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	for _, c := range s {
		if unicode.Is(unicode.Cc, c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' {
			return false
		}
	}
	return utf8.ValidString(s)
}
