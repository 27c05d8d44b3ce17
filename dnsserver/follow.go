package dnsserver

import (
	"context"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/registry"
)

// pace is how long changes are gathered after a Table was made. The first change after
// a quiet time is compiled at once, and no timer runs while nothing changes.
const pace = time.Millisecond

// longest is how long the Table before a View may be answered from while that is being
// compiled. Only a compilation of everything could take so long; from then on the
// complete path answers from the new View, until there is a Table.
const longest = 2 * time.Second

// follow keeps the Table that everything is answered from up to date, until ctx ends.
// It is the only writer.
func (s *Server) follow(ctx context.Context, compiler *compile.Compiler) {
	watcher := s.views.Watch()
	var latest time.Time // when a Table was made
	for {
		v, delta, err := watcher.Next(ctx)
		if err != nil {
			return
		}
		if rest := pace - time.Since(latest); rest > 0 {
			if !wait(ctx, rest) {
				return
			}
			if next, more, fresh := watcher.Poll(); fresh {
				v, delta = next, delta.Then(more)
			}
		}
		if !stands(s.table.Load(), v) {
			s.table.Store(compile.Complete(v)) // answers until all is compiled
		}
		if !s.update(compiler, v, delta) {
			s.table.Store(compile.Complete(v))
			compiler = compile.NewCompiler() // whose next update takes everything
		}
		latest = time.Now()
	}
}

// stands reports whether the answers of a Table may be given while a later View is
// compiled: a moment too long does less harm than to answer everything the dear way.
func stands(t *compile.Table, v *registry.View) bool {
	zone := v.Zone()
	return t.Names() > 0 && zone != nil && zone.Name == t.View().Zone().Name
}

// update compiles a View. Should that ever panic, it is false, and the complete path
// answers until the next one: no zone stops the answers.
func (s *Server) update(compiler *compile.Compiler, v *registry.View, delta registry.Delta) (done bool) {
	defer func() {
		if cause := recover(); cause != nil {
			s.notePanic(UDP, "compiling the answers", nil, cause)
		}
	}()
	began, before := time.Now(), s.table.Load()
	late := time.AfterFunc(longest, func() { s.table.CompareAndSwap(before, compile.Complete(v)) })
	defer late.Stop()
	s.table.Store(s.compile(compiler, v, delta))
	s.compiled.took.Store(int64(time.Since(began)))
	s.compiled.at.Store(time.Now().UnixNano())
	return true
}

// tick keeps the clock of the fast path, to the second.
func (s *Server) tick(ctx context.Context) {
	for wait(ctx, time.Second) {
		s.clock.Store(unixNow())
	}
}
