package consul

import "context"

// followService watches one service, from the index of its last read. The body
// of a reply is compared with what is known, so that a reply without news (the
// streaming backend's first one) costs no read.
func (w *session) followService(ctx context.Context, e *entry) {
	ctx, stop := context.WithCancel(ctx)
	e.follow = stop
	from := e.record.index
	w.wg.Go(func() {
		defer stop()
		err := follow(ctx, w, stream{path: pathService(e.name), index: from}, func(index uint64, entries []wireEntry) {
			if w.entries[e.name] == e && index > e.record.index {
				w.onService(e, entries)
			}
		})
		if err != nil && !unreadable(err) {
			w.fail(err)
		}
	})
}

// onService hints what differs from the record.
func (w *session) onService(e *entry, entries []wireEntry) {
	seen, _ := w.source.door.mapService(e.name, entries)
	var expect []expectation
	for m, now := range seen.marks {
		known, there := e.record.marks[m]
		if _, doubted := e.doubts[m]; !there || now.index > known.index || doubted {
			expect = append(expect, expectation{mark: m, index: now.index})
		}
	}
	for m, known := range e.record.marks {
		if _, there := seen.marks[m]; !there {
			expect = append(expect, expectation{mark: m, index: known.index, past: true})
		}
	}
	if len(expect) > 0 {
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
