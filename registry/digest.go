package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
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

// digester writes fields with their lengths, so that no two different contents
// give the same bytes.
type digester struct {
	hash hash.Hash
	tmp  []byte
}

func newDigester(what string) *digester {
	d := &digester{hash: sha256.New()}
	d.text(what)
	return d
}

func (d *digester) number(n int) { d.tmp = binary.AppendVarint(d.tmp, int64(n)) }

func (d *digester) text(s string) {
	d.tmp = binary.AppendUvarint(d.tmp, uint64(len(s)))
	d.tmp = append(d.tmp, s...)
}

func (d *digester) flag(b bool) {
	if b {
		d.number(1)
	} else {
		d.number(0)
	}
}

func (d *digester) texts(m map[string]string) {
	d.number(len(m))
	if len(m) == 0 {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		d.text(k)
		d.text(m[k])
	}
}

func (d *digester) sum() (out Digest) {
	d.hash.Write(d.tmp)
	var full [sha256.Size]byte
	copy(out[:], d.hash.Sum(full[:0]))
	return out
}

// Digest covers the key, the instances and the counts; not the stamps. A
// forgotten state has the zero Digest: it counts as never registered.
func (s *ServiceState) Digest() Digest {
	if s.Forgotten {
		return Digest{}
	}
	d := newDigester("service")
	d.tmp = slices.Grow(d.tmp, 128+96*len(s.Instances))
	d.text(s.Namespace)
	d.text(s.Name)
	d.number(s.Total)
	d.number(s.Serving)
	d.flag(s.Truncated)
	d.number(len(s.Instances))
	for i := range s.Instances {
		n := &s.Instances[i]
		d.text(n.ID)
		d.text(n.Address)
		d.number(n.Port)
		d.number(n.Weight)
		d.text(string(n.Health))
		d.text(n.Version)
		d.texts(n.Meta)
	}
	return d.sum()
}

// Digest covers every field.
func (r *ClusterRecord) Digest() Digest {
	d := newDigester("cluster")
	d.text(string(r.Cluster))
	d.text(r.Source)
	d.text(r.Region)
	d.text(r.Zone)
	d.texts(r.Labels)
	d.number(len(r.Gateways))
	for _, g := range r.Gateways {
		d.text(g.Name)
		d.number(g.Weight)
		d.number(len(g.Addresses))
		for _, a := range g.Addresses {
			d.text(a.String())
		}
		d.number(len(g.Ports))
		for _, name := range slices.Sorted(maps.Keys(g.Ports)) {
			d.text(name)
			d.number(g.Ports[name])
		}
	}
	return d.sum()
}
