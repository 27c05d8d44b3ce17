package consul

import "context"

// followService watches one service, from the index of its last read. Few services
// are watched past the streaming backend, because only the other one says that a
// leader stands behind a reply, and it is quicker; many would cost it too much.
func (w *session) followService(ctx context.Context, e *entry) {
	ctx, stop := context.WithCancel(ctx)
	e.follow = stop
	s := stream{path: pathService(e.name), index: e.record.index}
	if len(w.entries) <= w.source.few {
		s.query = notFromMemory()
	}
	w.wg.Go(func() {
		defer stop()
		err := follow(ctx, w, s, func(r reply, entries []wireEntry) {
			if w.entries[e.name] == e && r.index > e.record.index {
				w.onService(ctx, e, r, entries)
			}
		})
		if err != nil && !unreadable(err) {
			w.fail(err)
		}
	})
}

// onService takes the state that a watch has shown, if a leader says so and nothing
// is missing or older in it: a service that gained an instance, or changed one, is
// what the reply says, and to ask again would only tell the same later. Everything
// else is a hint, and a fresh read decides: a lost right and a view that begins anew
// look like fewer instances. A reply without news (the streaming backend's first
// one) costs nothing.
func (w *session) onService(ctx context.Context, e *entry, r reply, entries []wireEntry) {
	seen, refused := w.source.door.mapService(e.name, entries)
	whole := r.leader && !r.behind && !r.filtered && !e.record.filtered && len(e.record.marks) > 0
	var expect []expectation
	for m, now := range seen.marks {
		known, there := e.record.marks[m]
		if _, doubted := e.doubts[m]; !there || now.index > known.index || doubted {
			expect = append(expect, expectation{mark: m, index: now.index})
		}
		whole = whole && now.index >= known.index
	}
	for m, known := range e.record.marks {
		if _, there := seen.marks[m]; !there {
			expect = append(expect, expectation{mark: m, index: known.index, past: true})
			whole = false
		}
	}
	// What is in doubt, or about to be read, is left to that read.
	calm := !e.queued && !e.reading && e.place < 0 && len(e.doubts) == 0
	switch {
	case len(expect) == 0:
	case whole && calm:
		seen.index = r.index
		w.index = max(w.index, r.index)
		w.source.refuse(refused)
		w.believe(ctx, e, seen)
	default:
		w.hint(e.name, expect...)
	}
}

// hintMoved hints the services that an instance new to e was known under: their
// own watches need not wake when an id is registered again under another name.
func (w *session) hintMoved(e *entry, before, now record) {
	for m := range now.marks {
		if _, known := before.marks[m]; known || !m.instance() {
			continue
		}
		for _, other := range w.entries {
			if had, there := other.record.marks[m]; there && other != e {
				w.hint(other.name, expectation{mark: m, index: had.index, past: true})
			}
		}
	}
}
