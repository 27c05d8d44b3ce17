package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
)

const (
	headerPending = "Nats-Num-Pending"
	headerLast    = "Nats-Last-Sequence"

	askedTogether = 64       // filters in one question for last messages
	fewFilters    = 512      // more are looked for by reading everything
	readTogether  = 16 << 10 // sequences that are read at once, backwards: less of the last part is in vain
	partsWorth    = 200      // messages are read in the time in which one subject is asked for
	fewSubjects   = 2000     // likewise, once it is known which
	askers        = 8        // questions at the same time
)

// latest looks for the last message before a sequence of each subject.
//
// The server can be asked that for a subject, but it looks through its blocks for each
// one, so that many take seconds. Reading the history backwards, part by part, finds
// most subjects soon, because each is published again every day. So few are asked for,
// many are read, and of those the ones that are not found soon are asked for.
type latest struct {
	history *History
	first   uint64 // of the stream
	before  uint64 // the sequence: not part of it

	mu    sync.Mutex // guards found
	found map[string]registry.Stored
}

func (l *latest) find(ctx context.Context, filters []string) error {
	if len(filters) == 0 || len(filters) > fewFilters || slices.ContainsFunc(filters, broad) {
		return l.read(ctx, filters)
	}
	var wild []string
	subjects := map[string]struct{}{}
	for _, f := range filters {
		if strings.ContainsAny(f, "*>") {
			wild = append(wild, f)
		} else {
			subjects[f] = struct{}{}
		}
	}
	if len(wild) > 0 {
		found, err := l.history.subjects(ctx, wild)
		if err != nil {
			return err
		}
		maps.Copy(subjects, found)
	}
	if len(subjects) > fewSubjects {
		return l.read(ctx, filters)
	}
	return l.askEach(ctx, subjects, l.before-1)
}

// broad reports whether a filter may match very many subjects.
func broad(filter string) bool {
	return filter == ">" || strings.HasSuffix(filter, ".>") && strings.Count(filter, ".") < 4 || strings.HasSuffix(filter, ".svc.*.*")
}

// read reads backwards until nothing is missing, or what is missing is better asked for.
func (l *latest) read(ctx context.Context, filters []string) error {
	missing, err := l.history.subjects(ctx, filters)
	if err != nil {
		return err
	}
	for subject := range l.found {
		delete(missing, subject)
	}
	wire := filters
	if len(wire) > askedTogether { // the server would compare each message with all of them
		wire = nil
	}
	to, size := l.before-1, l.history.part
	for len(missing) > 0 && to >= l.first {
		from := l.first
		if to-l.first >= size {
			from = to - size + 1
		}
		found, err := l.part(ctx, HistoryRange{From: from, To: to, Filter: wire}, missing)
		if err != nil {
			return err
		}
		to = from - 1
		worth := uint64(found)*partsWorth >= min(to+1-l.first, size)
		if !worth && to >= l.first && uint64(len(missing))*partsWorth < to+1-l.first {
			return l.askEach(ctx, missing, to)
		}
	}
	return nil
}

// part reads a range, and takes what is found off what is missing.
func (l *latest) part(ctx context.Context, r HistoryRange, missing map[string]struct{}) (found int, err error) {
	last := make(map[string]registry.Stored, min(uint64(len(missing)), r.To-r.From+1))
	err = l.history.Read(ctx, r, func(m registry.Stored) error {
		if _, wanted := missing[m.Subject]; wanted {
			last[m.Subject] = m
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for subject, m := range last {
		l.found[subject] = m
		delete(missing, subject)
	}
	return len(last), nil
}

// askEach asks for subjects of which nothing is known to stand after a sequence and up to
// the one that is looked for.
//
// The server finds the first message of a subject at once. For the last one before a
// sequence it looks back through its blocks; where there is none it would go through the
// whole history before it says so, and answer nothing else meanwhile.
func (l *latest) askEach(ctx context.Context, missing map[string]struct{}, upTo uint64) error {
	subjects := slices.Collect(maps.Keys(missing))
	there := make([]bool, len(subjects))
	err := together(ctx, len(subjects), func(ctx context.Context, n int) (err error) {
		there[n], err = l.askOne(ctx, subjects[n], upTo)
		return err
	})
	if err != nil {
		return err
	}
	var left []string
	for n, subject := range subjects {
		if there[n] {
			left = append(left, subject)
		}
	}
	for part := range slices.Chunk(left, askedTogether) {
		if err := l.askMany(ctx, part, upTo); err != nil {
			return err
		}
	}
	return nil
}

// askOne reports whether a subject has a message that stands early enough.
func (l *latest) askOne(ctx context.Context, subject string, upTo uint64) (there bool, err error) {
	first, found, err := l.history.next(ctx, subject, `"seq":`+strconv.FormatUint(max(l.first, 1), 10))
	return found && first.sequence <= upTo, err
}

// askMany looks for the last messages of subjects that have some.
func (l *latest) askMany(ctx context.Context, subjects []string, upTo uint64) error {
	kept, cut, err := l.history.conn.lastOfMany(ctx, directQuery{Subjects: subjects, UpTo: upTo})
	switch {
	case err != nil:
		return err
	case cut && len(subjects) > 1: // together they are too large
		for half := range slices.Chunk(subjects, (len(subjects)+1)/2) {
			if err := l.askMany(ctx, half, upTo); err != nil {
				return err
			}
		}
		return nil
	}
	for _, m := range kept {
		l.keep(m)
	}
	return nil
}

func (l *latest) keep(m storedMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found[m.subject] = m.asStored()
}

// together does so many things, some at the same time, until one fails.
func together(ctx context.Context, count int, do func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(askers, count) {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < count && ctx.Err() == nil; n = int(next.Add(1)) - 1 {
				if err := do(ctx, n); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// lastOfMany is a directQuery for last messages. Cut says that the server has left some out.
func (c *Conn) lastOfMany(ctx context.Context, q directQuery) (kept []storedMessage, cut bool, err error) {
	ctx, stop := c.bound(ctx)
	defer stop()
	body, err := json.Marshal(q)
	if err != nil {
		return nil, false, err
	}
	inbox := c.nats.NewInbox()
	sub, err := c.nats.SubscribeSync(inbox)
	if err != nil {
		return nil, false, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // only a closed connection refuses
	if err := c.nats.PublishRequest(directGetSubject+EventsStream, inbox, body); err != nil {
		return nil, false, err
	}
	for {
		answer, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, false, fmt.Errorf("%s%s: %w", directGetSubject, EventsStream, err)
		}
		m, given, err := parseDirect(answer)
		if err != nil {
			return nil, false, fmt.Errorf("%s%s: %w", directGetSubject, EventsStream, err)
		}
		if !given {
			left, _ := strconv.ParseUint(lastValue(answer.Header, headerPending), 10, 64)
			return kept, left > 0, nil
		}
		kept = append(kept, m)
	}
}

// subjects returns those that match one of the filters and have a message now.
func (h *History) subjects(ctx context.Context, filters []string) (map[string]struct{}, error) {
	patterns := filters
	if len(filters) == 0 || len(filters) > askedTogether {
		patterns = []string{">"}
	}
	lists := make([]map[string]uint64, len(patterns))
	err := together(ctx, len(patterns), func(ctx context.Context, n int) (err error) {
		lists[n], err = h.subjectsOf(ctx, patterns[n])
		return err
	})
	if err != nil {
		return nil, err
	}
	all := map[string]struct{}{}
	for _, list := range lists {
		for subject := range list {
			all[subject] = struct{}{}
		}
	}
	if len(filters) > askedTogether {
		wanted := make(map[string]struct{}, len(filters))
		var wild []string
		for _, f := range filters {
			if strings.ContainsAny(f, "*>") {
				wild = append(wild, f)
			} else {
				wanted[f] = struct{}{}
			}
		}
		for subject := range all {
			if _, exact := wanted[subject]; !exact && !slices.ContainsFunc(wild, func(f string) bool { return Matches(f, subject) }) {
				delete(all, subject)
			}
		}
	}
	return all, nil
}

// subjectsTime bounds reading the server's list of subjects; it comes in pages of 100,000.
const subjectsTime = 20 * time.Second

func (h *History) subjectsOf(ctx context.Context, filter string) (map[string]uint64, error) {
	ctx, stop := context.WithTimeout(ctx, subjectsTime)
	defer stop()
	var info *jetstream.StreamInfo
	s, err := h.conn.js.Stream(ctx, EventsStream)
	if err == nil {
		info, err = s.Info(ctx, jetstream.WithSubjectFilter(filter))
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("the subjects of %s: %w", EventsStream, err)
	}
	return info.State.Subjects, nil
}

// Matches reports whether a subject matches a filter, as NATS has it.
func Matches(filter, subject string) bool {
	for {
		f, filters, moreF := strings.Cut(filter, ".")
		s, subjects, moreS := strings.Cut(subject, ".")
		switch {
		case f == ">":
			return true
		case f != "*" && f != s:
			return false
		case !moreF || !moreS:
			return moreF == moreS
		}
		filter, subject = filters, subjects
	}
}
