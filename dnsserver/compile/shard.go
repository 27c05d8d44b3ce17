package compile

import "math/bits"

const shardCount = 1024

// shard is a part of the table of names: open addressing, without pointers. A shard
// that a Table holds is never written to again.
type shard struct {
	slots []slot // a power of two, at most three quarters used
	used  int
	keys  []byte // each name behind its length; those of names that are gone stay until the next growth
}

// slot is one name. Slots that are free have no key.
type slot struct {
	hash uint32
	key  uint32 // where the name stands in keys, plus one
	node node
}

// node is what stands at a name: 0 a branch, which has nothing but names below it;
// else the number of a set.
type node uint32

const branch node = 0

// find returns the slot of a name; the receiver may be nil.
func (s *shard) find(hash uint32, name []byte) *slot {
	if s == nil {
		return nil
	}
	mask := uint32(len(s.slots) - 1)
	for n := hash & mask; ; n = (n + 1) & mask {
		entry := &s.slots[n]
		if entry.key == 0 {
			return nil
		}
		if entry.hash == hash && s.equal(entry.key-1, name) {
			return entry
		}
	}
}

func (s *shard) equal(at uint32, name []byte) bool {
	length := uint32(s.keys[at])
	return int(length) == len(name) && string(s.keys[at+1:at+1+length]) == string(name)
}

// clone returns a copy that may be written to; the receiver may be nil.
func (s *shard) clone() *shard {
	if s == nil {
		return &shard{slots: make([]slot, 4)}
	}
	// The names are shared: behind their end there is room for one writer only, the
	// latest, and what it writes there no earlier shard looks at.
	return &shard{slots: append(make([]slot, 0, len(s.slots)), s.slots...), used: s.used, keys: s.keys}
}

// set puts a name in, or changes what stands at it.
func (s *shard) set(hash uint32, name []byte, n node) {
	if entry := s.find(hash, name); entry != nil {
		entry.node = n
		return
	}
	if 4*(s.used+1) > 3*len(s.slots) {
		s.rebuild(nil)
	}
	at := uint32(len(s.keys))
	s.keys = append(append(s.keys, byte(len(name))), name...)
	s.insert(slot{hash: hash, key: at + 1, node: n})
	s.used++
}

func (s *shard) insert(entry slot) {
	mask := uint32(len(s.slots) - 1)
	n := entry.hash & mask
	for s.slots[n].key != 0 {
		n = (n + 1) & mask
	}
	s.slots[n] = entry
}

// remove takes a name out.
func (s *shard) remove(hash uint32, name []byte) {
	if entry := s.find(hash, name); entry != nil {
		s.used--
		s.rebuild(entry)
	}
}

// rebuild places all names but one anew, with room for one more.
func (s *shard) rebuild(without *slot) {
	old, keys := s.slots, s.keys
	size := max(4, 1<<bits.Len(uint(3*(s.used+1)/2)))
	s.slots, s.keys = make([]slot, size), make([]byte, 0, len(keys)+64)
	for n := range old {
		entry := old[n]
		if entry.key == 0 || &old[n] == without {
			continue
		}
		at := entry.key - 1
		length := uint32(keys[at])
		entry.key = uint32(len(s.keys)) + 1
		s.keys = append(s.keys, keys[at:at+1+length]...)
		s.insert(entry)
	}
}

// clip gives back the room that growing has left; the receiver may be nil.
func (s *shard) clip() {
	if s != nil && cap(s.keys)-len(s.keys) > len(s.keys)/8 {
		s.keys = append(make([]byte, 0, len(s.keys)), s.keys...)
	}
}
