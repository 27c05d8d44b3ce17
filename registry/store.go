package registry

import "sync/atomic"

// Store holds the current [View] for its readers. One goroutine publishes; any
// number may call the other methods. View never blocks and never returns nil. The
// zero Store holds an empty View that is not synced. A Store must not be copied.
type Store struct {
	view   atomic.Pointer[View]
	deltas deltas
}

// View returns the current View.
func (s *Store) View() *View {
	if v := s.view.Load(); v != nil {
		return v
	}
	return &View{}
}

// Publish makes v the current View, and tells those who wait ([Store.Watch],
// [Store.Changed]). No reader can hold it up.
func (s *Store) Publish(v *View) {
	s.view.Store(v)
	s.deltas.publish(v)
}

// Changed returns a channel that is closed when the next View is published. Ask
// for the channel first and look at View after, so that none is missed.
func (s *Store) Changed() <-chan struct{} { return s.deltas.changed() }
