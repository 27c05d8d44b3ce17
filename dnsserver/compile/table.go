package compile

import (
	"hash/maphash"

	"github.com/seamark-mesh/seamark/registry"
)

// Table is all that the fast path knows of one View. It is immutable, and shared by
// any number of readers. The zero Table answers nothing.
type Table struct {
	view     *registry.View
	seed     maphash.Seed
	apex     []byte // the zone's name on the wire, lower-case; empty: nothing is answered
	shards   *[shardCount]*shard
	sets     []*set // by node; the first one is nil
	negative *body

	// Data of the EDE option of every answer, and of NXDOMAIN, while nobody knows whether
	// the View still holds; else empty.
	doubt, doubtAbsent []byte

	names int
	bytes int // of the compiled answers
	left  int // sets for which there was no room
}

// Complete returns a Table that leaves all to the complete path.
func Complete(v *registry.View) *Table { return &Table{view: v} }

// View returns the View that the answers are of. The complete path must answer from
// the same one, so that the two can't contradict each other.
func (t *Table) View() *registry.View {
	if t.view == nil {
		return &registry.View{}
	}
	return t.view
}

// Names counts the names that the table knows.
func (t *Table) Names() int { return t.names }

// Sets counts the different sets of answers, and Bytes tells how long they are.
func (t *Table) Sets() int { return max(0, len(t.sets)-1) }

// Bytes tells how long all compiled answers are together.
func (t *Table) Bytes() int { return t.bytes }

func (t *Table) find(name []byte) *slot {
	hash := maphash.Bytes(t.seed, name)
	return t.shards[hash%shardCount].find(uint32(hash>>32), name)
}

// Left counts the sets that are left to the complete path because the compiled answers
// are as long as they may become. They are compiled once there is room again.
func (t *Table) Left() int { return t.left }
