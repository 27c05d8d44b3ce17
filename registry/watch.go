package registry

import (
	"context"
	"slices"
	"sync"
)

// Bounds of what a Store remembers for slow watchers. One that is further behind
// is told to compare all.
const (
	rememberedViews = 1024
	rememberedNames = 4 * MaxChangedNames
)

// deltas holds those of the latest Views of a Store. The zero deltas are none.
type deltas struct {
	mu      sync.Mutex // guards the fields below
	view    *View
	next    uint64  // the number of the next Delta
	changes []Delta // those before next
	names   int     // in changes
	swapped chan struct{}
}

// publish takes in the next View and tells whoever waits.
func (d *deltas) publish(v *View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v == d.view {
		return
	}
	older := d.view
	if older == nil {
		older = &View{}
	}
	change := v.delta
	switch {
	case v.origin != nil && v.origin == older.origin && v.version == older.version: // marked ([View.CutOff]), or no more
		change = Delta{Before: older.sequence, After: v.sequence}
	case !v.Follows(older):
		change = allBetween(older, v)
	}
	d.view = v
	d.next++
	d.changes = append(d.changes, change)
	d.names += len(change.Names) + len(change.Clusters)
	for len(d.changes) > rememberedViews || d.names > rememberedNames {
		d.names -= len(d.changes[0].Names) + len(d.changes[0].Clusters)
		d.changes[0] = Delta{}
		d.changes = d.changes[1:]
	}
	if d.swapped != nil {
		close(d.swapped)
		d.swapped = nil
	}
}

// since returns the current View and what changed from a number on, and the
// number to ask with next time.
func (d *deltas) since(from uint64) (v *View, joined []Delta, next uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v = d.view
	if v == nil {
		v = &View{}
	}
	if behind := d.next - from; behind <= uint64(len(d.changes)) {
		return v, slices.Clone(d.changes[uint64(len(d.changes))-behind:]), d.next
	}
	return v, nil, d.next
}

// changed returns a channel that is closed at the next publish.
func (d *deltas) changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.swapped == nil {
		d.swapped = make(chan struct{})
	}
	return d.swapped
}

// Watcher reads the Views of a [Store] one after another, each with what changed
// since the one it returned before. Make one with [Store.Watch]. One goroutine uses
// a Watcher; it needs no closing, and however slow it is it holds nobody up.
type Watcher struct {
	store *Store
	begun bool
	last  *View
	next  uint64 // the number of the first Delta that was not returned
}

// Watch returns a Watcher that begins with the current View.
func (s *Store) Watch() *Watcher { return &Watcher{store: s, last: &View{}} }

// Next waits until the Store holds another View than the one that was returned
// last, and returns it with all that changed between the two: the Deltas of the
// Views in between are joined. The first call returns at once, with Delta.All. The
// error is ctx's cause.
func (w *Watcher) Next(ctx context.Context) (*View, Delta, error) {
	for {
		swapped := w.store.Changed()
		if v, change, fresh := w.Poll(); fresh {
			return v, change, nil
		}
		select {
		case <-swapped:
		case <-ctx.Done():
			return nil, Delta{}, context.Cause(ctx)
		}
	}
}

// Poll is Next without waiting: fresh is false, and the View the one that was
// returned last, when there is no other.
func (w *Watcher) Poll() (v *View, change Delta, fresh bool) {
	v, missed, next := w.store.deltas.since(w.next)
	if w.begun && next == w.next {
		return w.last, Delta{Before: w.last.sequence, After: w.last.sequence}, false
	}
	change = allBetween(w.last, v)
	if w.begun && missed != nil {
		change = join(missed)
	}
	w.begun, w.last, w.next = true, v, next
	return v, change, true
}

// allBetween is the Delta of two Views of which nothing more is known.
func allBetween(older, newer *View) Delta {
	return Delta{
		All: true, Zone: true, Synced: newer.synced && !older.synced,
		Before: older.sequence, After: newer.sequence,
	}
}

// join makes one Delta of several in a row.
func join(changes []Delta) Delta {
	for len(changes) > 1 { // in pairs, so that each name is sorted only a few times
		half := make([]Delta, 0, (len(changes)+1)/2)
		for n := 0; n < len(changes); n += 2 {
			if n+1 < len(changes) {
				half = append(half, changes[n].Then(changes[n+1]))
			} else {
				half = append(half, changes[n])
			}
		}
		changes = half
	}
	return changes[0]
}
