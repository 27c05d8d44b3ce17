package dnsserver

import (
	"context"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
)

// pace is how long changes are gathered after a Table was made. The first change after
// a quiet time is compiled at once.
const pace = time.Millisecond

// follow keeps the Table that everything is answered from up to date, until ctx ends.
// It is the only writer.
func (s *Server) follow(ctx context.Context, compiler *compile.Compiler) {
	watcher := s.views.Watch()
	for {
		v, delta, err := watcher.Next(ctx)
		if err != nil {
			return
		}
		if delta.All && v != s.table.Load().View() {
			s.table.Store(compile.Complete(v)) // answers until all is compiled
		}
		began := time.Now()
		s.table.Store(compiler.Update(v, delta))
		s.compiled.took.Store(int64(time.Since(began)))
		s.compiled.at.Store(time.Now().UnixNano())
		if !wait(ctx, pace) {
			return
		}
	}
}

// tick keeps the clock of the fast path, to the second.
func (s *Server) tick(ctx context.Context) {
	for wait(ctx, time.Second) {
		s.clock.Store(unixNow())
	}
}
