package registry

import (
	"hash/maphash"
	"iter"
)

// tableShards trades the cost of one change (copying 1/1024 of the entries)
// against the cost of one snapshot (copying 1024 pointers, 8 KiB).
const tableShards = 1024

// tableSeed is shared by all tables, so that two of them can be compared shard
// by shard. It never leaves the process: nothing that is stored depends on it.
var tableSeed = maphash.MakeSeed()

// table is an immutable hash map whose versions share all shards that did not
// change between them. The zero table is empty.
type table[K comparable, V any] struct {
	shards *[tableShards]*shard[K, V]
	len    int
}

type shard[K comparable, V any] struct{ entries map[K]V }

func shardOf[K comparable](k K) int {
	return int(maphash.Comparable(tableSeed, k) % tableShards)
}

func (t table[K, V]) get(k K) (v V, ok bool) {
	if t.shards == nil {
		return v, false
	}
	s := t.shards[shardOf(k)]
	if s == nil {
		return v, false
	}
	v, ok = s.entries[k]
	return v, ok
}

// all yields every entry, in no order.
func (t table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if t.shards == nil {
			return
		}
		for _, s := range t.shards {
			if s == nil {
				continue
			}
			for k, v := range s.entries {
				if !yield(k, v) {
					return
				}
			}
		}
	}
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
	s := d.shards[shardOf(k)]
	if s == nil {
		return v, false
	}
	v, ok = s.entries[k]
	return v, ok
}

func (d *draft[K, V]) set(k K, v V) {
	entries := d.writable(shardOf(k))
	before := len(entries)
	entries[k] = v
	d.len += len(entries) - before
}

func (d *draft[K, V]) delete(k K) {
	if _, ok := d.get(k); !ok {
		return
	}
	delete(d.writable(shardOf(k)), k)
	d.len--
}

func (d *draft[K, V]) writable(n int) map[K]V {
	if d.owned[n] {
		return d.shards[n].entries
	}
	next := &shard[K, V]{}
	if old := d.shards[n]; old != nil {
		next.entries = make(map[K]V, len(old.entries)+1)
		for k, v := range old.entries {
			next.entries[k] = v
		}
	} else {
		next.entries = make(map[K]V)
	}
	d.shards[n], d.owned[n] = next, true
	return next.entries
}

// freeze returns what was built so far; the draft may go on.
func (d *draft[K, V]) freeze() table[K, V] {
	shards := d.shards
	d.owned = [tableShards]bool{}
	return table[K, V]{shards: &shards, len: d.len}
}
