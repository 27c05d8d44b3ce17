package registry

import (
	"hash/maphash"
	"iter"
	"slices"
)

// tableShards trades the cost of one change (copying 1/1024 of the entries)
// against the cost of one version (copying 1024 pointers, 8 KiB).
const tableShards = 1024

// tableSeed is shared by all tables, so that two of them can be compared shard
// by shard. It never leaves the process: nothing that is stored depends on it.
var tableSeed = maphash.MakeSeed()

// table is an immutable hash table whose versions share all shards that did not
// change between them. The zero table is empty.
type table[K comparable, V any] struct {
	shards *[tableShards]*shard[K, V]
	len    int
}

// shard holds the entries of a table whose hashes are equal modulo tableShards,
// sorted by hash: a slice, because that is copied ten times faster than a map.
type shard[K comparable, V any] struct{ slots []slot[K, V] }

type slot[K comparable, V any] struct {
	hash  uint64
	key   K
	value V
}

func hashOf[K comparable](k K) uint64 { return maphash.Comparable(tableSeed, k) }

// find returns where a key stands, or where it would; the receiver may be nil.
func (s *shard[K, V]) find(hash uint64, k K) (n int, found bool) {
	if s == nil {
		return 0, false
	}
	low, high := 0, len(s.slots) // the first slot whose hash is not lower
	for low < high {
		if middle := int(uint(low+high) >> 1); s.slots[middle].hash < hash {
			low = middle + 1
		} else {
			high = middle
		}
	}
	for n = low; n < len(s.slots) && s.slots[n].hash == hash; n++ {
		if s.slots[n].key == k {
			return n, true
		}
	}
	return n, false
}

func (s *shard[K, V]) get(hash uint64, k K) (v V, ok bool) {
	n, ok := s.find(hash, k)
	if ok {
		v = s.slots[n].value
	}
	return v, ok
}

// shard returns the n-th shard; nil when it is empty.
func (t table[K, V]) shard(n int) *shard[K, V] {
	if t.shards == nil {
		return nil
	}
	return t.shards[n]
}

func (t table[K, V]) get(k K) (v V, ok bool) {
	hash := hashOf(k)
	return t.shard(int(hash%tableShards)).get(hash, k)
}

// all yields every entry, in no order.
func (t table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for n := range tableShards {
			for _, slot := range t.shard(n).all() {
				if !yield(slot.key, slot.value) {
					return
				}
			}
		}
	}
}

// all returns the slots; the receiver may be nil.
func (s *shard[K, V]) all() []slot[K, V] {
	if s == nil {
		return nil
	}
	return s.slots
}

// draft builds the next version of a table. It copies a shard the first time it
// writes to it after a freeze, so many writes in a row cost one copy. One
// goroutine owns a draft.
type draft[K comparable, V any] struct {
	shards [tableShards]*shard[K, V]
	owned  [tableShards]bool
	len    int
}

func draftOf[K comparable, V any](t table[K, V]) *draft[K, V] {
	d := &draft[K, V]{len: t.len}
	if t.shards != nil {
		d.shards = *t.shards
	}
	return d
}

func (d *draft[K, V]) get(k K) (v V, ok bool) {
	hash := hashOf(k)
	return d.shards[hash%tableShards].get(hash, k)
}

func (d *draft[K, V]) set(k K, v V) {
	hash := hashOf(k)
	s := d.writable(int(hash % tableShards))
	if n, found := s.find(hash, k); found {
		s.slots[n].value = v
	} else {
		s.slots = slices.Insert(s.slots, n, slot[K, V]{hash, k, v})
		d.len++
	}
}

func (d *draft[K, V]) delete(k K) {
	hash := hashOf(k)
	if _, found := d.shards[hash%tableShards].find(hash, k); !found {
		return
	}
	s := d.writable(int(hash % tableShards))
	n, _ := s.find(hash, k)
	s.slots = slices.Delete(s.slots, n, n+1)
	d.len--
}

func (d *draft[K, V]) writable(n int) *shard[K, V] {
	if d.owned[n] {
		return d.shards[n]
	}
	next := &shard[K, V]{}
	if old := d.shards[n]; old != nil {
		next.slots = append(make([]slot[K, V], 0, len(old.slots)+1), old.slots...)
	}
	d.shards[n], d.owned[n] = next, true
	return next
}

// freeze returns what was built so far; the draft may go on.
func (d *draft[K, V]) freeze() table[K, V] {
	shards := d.shards
	d.owned = [tableShards]bool{}
	return table[K, V]{shards: &shards, len: d.len}
}
