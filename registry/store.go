package registry

import "sync/atomic"

// Store holds the current [View] for its readers. One goroutine publishes; any
// number may call View, which never blocks and never returns nil. The zero Store
// holds an empty View that is not synced.
type Store struct {
	view atomic.Pointer[View]
}

// View returns the current View.
func (s *Store) View() *View {
	if v := s.view.Load(); v != nil {
		return v
	}
	return &View{}
}

// Publish makes v the current View.
func (s *Store) Publish(v *View) { s.view.Store(v) }
