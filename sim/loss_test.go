package sim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// mostFill is how far a stream may be that begins at 1 again: readers fill it up to where
// they were, one note after the other, and the checker looks at each.
const mostFill = 100_000

// lose lets the stream lose its end, as after a power failure or a restore from an
// older backup, or everything.
func (w *world) lose() {
	s := w.stream
	w.losses++
	w.lostAt = time.Now()
	for _, of := range w.sites {
		of.disturbed = time.Now()
	}
	for _, r := range w.readers {
		r.disturbed = time.Now()
	}
	leases := w.rng.IntN(2) == 0
	if leases {
		clear(s.leases)
	}
	if w.rng.IntN(3) > 0 && len(s.all) > 2 {
		gone := 1 + w.rng.IntN(min(30, len(s.all)-1))
		w.note("", "the stream loses its end", fmt.Sprint("leases too: ", leases), uint64(gone))
		s.all = s.all[:len(s.all)-gone]
	} else {
		first := uint64(1)
		if w.rng.IntN(2) == 0 || s.end() > mostFill {
			first = s.end() + 1_000_000
		}
		w.note("", "the stream is made anew", fmt.Sprint("leases too: ", leases), first)
		s.all, s.first, s.created = nil, first, time.Now()
	}
	clear(s.last)
	clear(s.ids)
	for _, k := range s.all {
		s.last[k.Fact] = k.Sequence
		s.ids[k.id] = stored{k.Sequence, time.Now()}
	}
	w.check.begin()
	for _, k := range s.all {
		w.check.note(k)
	}
}

// begin forgets what the stream held.
func (c *checker) begin() {
	c.fold, c.honest = registry.NewFold(), registry.NewFold()
	clear(c.stands)
	clear(c.facts)
	clear(c.epochs)
	for _, r := range c.world.readers {
		clear(r.live)
	}
	c.fold.Synced()
	c.view = c.fold.View()
}

// note takes in what is left of a stream.
func (c *checker) note(k kept) {
	c.fold.Apply(k.Message)
	c.view = c.fold.View()
	c.facts = factsOf(c.view)
}

// remains puts the zone record back where nobody is left who knew it, as a reader does
// from its configuration.
func (w *world) remains() {
	if w.stream.last[replica.ZoneFact] == 0 {
		w.stream.store(nil, encode(replica.ZoneEvent(zone(), "the simulation", registry.CauseChange, time.Now())))
	}
}

// setRight lets the stream's clock show no less than it has shown before, where it was
// lost: who had begun an epoch that is lost would else begin the next one with a lower
// number, which readers that knew the lost one take for an older one until the clock has
// come so far. That both happen is known to be beyond what is mended by itself.
func (w *world) setRight() {
	if w.losses > 0 && w.stream.now().Before(w.stream.shown) {
		w.stream.turn(w.stream.shown.Sub(w.stream.now())+time.Second, w.stream.drift)
		w.note("", "the stream's clock is set right", "", 0)
	}
}

// recovery is what a replica needs where the stream is lost.
type recovery struct {
	*tail
	reader *reader
}

var _ replica.Recovery = recovery{}

// Begin implements [replica.Recovery] as global-dns does.
func (k recovery) Begin(ctx context.Context, known replica.Place) (replica.Beginning, error) {
	if err := k.rest(ctx, "follow"); err != nil {
		return replica.Beginning{}, err
	}
	var begun replica.Beginning
	err := k.call(ctx, "begin", true, func() error {
		s := k.world.stream
		begun = replica.Beginning{Created: s.created, Lost: known.Lost || !s.stands(known)}
		for n := 0; begun.Lost && s.end() <= known.Sequence; n++ {
			s.store(k.link, encode(&registry.Event{
				Schema: registry.Schema, ID: fmt.Sprint("fill-", k.name, s.end()), Kind: registry.KindNote, Writer: registry.Operator,
				Time: time.Now().UTC(), Agent: k.name, Cause: registry.CauseResync, Note: &registry.Note{Kind: "fill", Text: "filled up"},
			}))
		}
		return nil
	})
	if err != nil {
		k.tried["follow"].ended = time.Now()
		return replica.Beginning{}, err
	}
	return begun, nil
}

// Stands implements [replica.Recovery] as global-dns does.
func (k recovery) Stands(ctx context.Context, at replica.Place) (bool, error) {
	var stands bool
	err := k.call(ctx, "look again", false, func() error { stands = k.world.stream.stands(at); return nil })
	if err != nil || !stands { // then it is tried again
		k.tried["follow"].ended = time.Now()
		return false, err
	}
	return true, nil
}

// stands reports whether the stream is the one of which a place was known.
func (s *stream) stands(known replica.Place) bool {
	return (known.Created.IsZero() || s.created.Equal(known.Created)) && s.end() >= known.Sequence
}

// Contact implements [replica.Recovery].
func (k recovery) Contact() replica.Contact {
	k.reader.mu.Lock()
	defer k.reader.mu.Unlock()
	return k.reader.contact
}

// meet notes what a reader hears of the stream.
func (r *reader) meet() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.contact.Connected = !r.tail.cut || !r.tail.refuse
	if !r.tail.cut {
		r.contact.Heard = now
		if r.tail.atEnd() {
			r.contact.Current = now
		}
	}
}

// Put implements [replica.Recovery].
func (k recovery) Put(ctx context.Context, e *registry.Event, expect uint64) (uint64, error) {
	var sequence uint64
	m := encode(e)
	err := k.call(ctx, "put "+string(e.Kind)+e.Fact().Name, true, func() error {
		if k.world.stream.last[e.Fact()] != expect {
			return registry.ErrConflict
		}
		sequence = k.world.stream.store(k.link, m)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

// Stands implements edge.Receipts.
func (k *writer) Stands(ctx context.Context) (bool, error) {
	var stands bool
	err := k.call(ctx, "stands", false, func() error {
		s := k.world.stream
		stands = k.acknowledged.id == "" || k.acknowledged.Sequence >= s.first && k.acknowledged.Sequence <= s.end() &&
			(s.last[k.acknowledged.Fact] > k.acknowledged.Sequence || s.at(k.acknowledged.Sequence).id == k.acknowledged.id)
		return nil
	})
	if err != nil { // it may still take effect
		return false, err
	}
	return stands, nil
}

// disk is where a reader keeps its checkpoints.
type disk struct {
	folder string // of the process that runs
	files  map[string][]byte
}

// zoneName is whose checkpoints they are.
const zoneName = "mesh.internal."

// mount gives a starting reader its disk, as the one before left it.
func (d *disk) mount(folder string) (*checkpoint.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	d.folder = folder
	for name, body := range d.files {
		if err := os.WriteFile(filepath.Join(folder, name), body, 0o600); err != nil {
			return nil, err
		}
	}
	return checkpoint.Open(filepath.Join(folder, "checkpoint"), zoneName), nil
}

// keep remembers what the disk holds at the moment of a kill.
func (d *disk) keep() {
	d.files = map[string][]byte{}
	entries, err := os.ReadDir(d.folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		if body, err := os.ReadFile(filepath.Join(d.folder, e.Name())); err == nil {
			d.files[e.Name()] = body
		}
	}
}
