package registry

import (
	"context"
	"slices"
	"sync"
)

// Bounds of what a Store remembers for slow watchers. One that is further behind
// is told to compare all.
const (
	journalViews = 1024
	journalNames = 4 * MaxChangedNames
)

// journal holds the Deltas of the latest Views of a Store. The zero journal is empty.
type journal struct {
	mu      sync.Mutex // guards the fields below
	view    *View
	next    uint64  // the number of the next Delta
	changes []Delta // those before next
	names   int     // in changes
	swapped chan struct{}
}

// publish takes in the next View and tells whoever waits.
func (j *journal) publish(v *View) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if v == j.view {
		return
	}
	older := j.view
	if older == nil {
		older = &View{}
	}
	change := v.delta
	if !v.Follows(older) {
		change = allBetween(older, v)
	}
	j.view = v
	j.next++
	j.changes = append(j.changes, change)
	j.names += len(change.Names) + len(change.Clusters)
	for len(j.changes) > journalViews || j.names > journalNames {
		j.names -= len(j.changes[0].Names) + len(j.changes[0].Clusters)
		j.changes[0] = Delta{}
		j.changes = j.changes[1:]
	}
	if j.swapped != nil {
		close(j.swapped)
		j.swapped = nil
	}
}

// since returns the current View and what changed from a number on, and the
// number to ask with next time.
func (j *journal) since(from uint64) (v *View, joined []Delta, next uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	v = j.view
	if v == nil {
		v = &View{}
	}
	if behind := j.next - from; behind <= uint64(len(j.changes)) {
		return v, slices.Clone(j.changes[uint64(len(j.changes))-behind:]), j.next
	}
	return v, nil, j.next
}

// changed returns a channel that is closed at the next publish.
func (j *journal) changed() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.swapped == nil {
		j.swapped = make(chan struct{})
	}
	return j.swapped
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
	v, missed, next := w.store.journal.since(w.next)
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
