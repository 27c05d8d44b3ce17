package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// Digest identifies content, never stamps: the first 16 bytes of a SHA-256. The
// digests of many facts combine by XOR in any order, so that one fact can be
// taken out and put back in constant time. It guards against mistakes, not
// against a writer who lies about itself.
type Digest [16]byte

// XOR combines two digests; the zero Digest changes nothing.
func (d Digest) XOR(o Digest) Digest {
	for i := range d {
		d[i] ^= o[i]
	}
	return d
}

// String returns 32 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText encodes d as String does.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 32 hexadecimal digits.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) {
		return refuse("digest", "a digest has %d hexadecimal digits, not %d", 2*len(d), len(text))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return refuse("digest", "%q is no hexadecimal digest", text)
	}
	return nil
}

// fields are values with their lengths in front, so that no two different contents
// give the same bytes. They are handed on by value, like append's, so that short
// ones can stay on the stack.
type fields []byte

func (f fields) number(n int) fields { return binary.AppendVarint(f, int64(n)) }

func (f fields) text(s string) fields {
	return append(binary.AppendUvarint(f, uint64(len(s))), s...)
}

func (f fields) flag(b bool) fields {
	if b {
		return f.number(1)
	}
	return f.number(0)
}

func (f fields) texts(m map[string]string) fields {
	f = f.number(len(m))
	if len(m) == 0 {
		return f
	}
	var few [8]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f = f.text(k).text(m[k])
	}
	return f
}

func (f fields) sum() Digest {
	full := sha256.Sum256(f)
	return Digest(full[:16])
}

// Digest covers the key, the instances and the counts; not the stamps. A
// forgotten state has the zero Digest: it counts as never registered.
func (s *ServiceState) Digest() Digest {
	if s.Forgotten {
		return Digest{}
	}
	var space [1024]byte // enough for most
	f := fields(space[:0]).text("service").text(s.Namespace).text(s.Name).
		number(s.Total).number(s.Serving).flag(s.Truncated).number(len(s.Instances))
	for n := range s.Instances {
		i := &s.Instances[n]
		f = f.text(i.ID).text(i.Address).number(i.Port).number(i.Weight).text(string(i.Health)).text(i.Version).texts(i.Meta)
	}
	return f.sum()
}

// Digest covers every field.
func (r *ClusterRecord) Digest() Digest {
	f := fields(nil).text("cluster").text(string(r.Cluster)).text(r.Source).text(r.Region).text(r.Zone).texts(r.Labels)
	f = f.number(len(r.Gateways))
	for _, g := range r.Gateways {
		f = f.text(g.Name).number(g.Weight).number(len(g.Addresses))
		for _, a := range g.Addresses {
			f = f.text(a.String())
		}
		f = f.number(len(g.Ports))
		for _, name := range slices.Sorted(maps.Keys(g.Ports)) {
			f = f.text(name).number(g.Ports[name])
		}
	}
	return f.sum()
}
