package consul

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/seamark-mesh/seamark/registry"
	"golang.org/x/sync/errgroup"
)

// readPool is how many services [Source.Read] reads at once.
const readPool = 8

// readCatalog reads everything: the names, and each service by itself. What the
// source knew before and does not find is read too, and where ACLs could hide it,
// the token must be allowed to see it; else it stands. Index is the highest that
// was seen.
func (s *Source) readCatalog(ctx context.Context, c *client, pool int) (records map[string]record, index uint64, err error) {
	if err := c.testRights(ctx, s); err != nil {
		return nil, 0, err
	}
	listed, r, err := ask[wireNames](ctx, c, pathNames, nil, s.timing.request)
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	known := maps.Clone(s.known)
	s.mu.Unlock()
	names := s.admitted(listed, func(refusal *registry.Refusal) { s.config.Refused(refusal) })
	for name := range known {
		names[name] = true
	}
	records, err = s.readServices(ctx, c, slices.Collect(maps.Keys(names)), known, pool)
	if err != nil {
		return nil, 0, err
	}
	if c.acls.Load() {
		if err := c.testRights(ctx, s); err != nil {
			return nil, 0, err
		}
	}
	index = r.index
	for _, record := range records {
		index = max(index, record.index)
	}
	return records, index, nil
}

// admitted returns the folded names that are read.
func (s *Source) admitted(listed wireNames, refused func(*registry.Refusal)) map[string]bool {
	names := make(map[string]bool, len(listed))
	for name := range listed {
		ok, refusal := s.door.admits(fold(name))
		if ok {
			names[fold(name)] = true
		} else if refusal != nil {
			refused(refusal)
		}
	}
	return names
}

// readServices reads these services, pool at a time. A service that was not
// found is not in the result.
func (s *Source) readServices(ctx context.Context, c *client, names []string, known map[string]record, pool int) (map[string]record, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pool)
	results := make([]record, len(names))
	for n, name := range names {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			got, err := s.readService(ctx, c, name, question{before: known[name], confirm: always})
			if err != nil {
				return err
			}
			results[n] = got.record
			s.refuse(got.refused)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	records := make(map[string]record, len(names))
	for n, name := range names {
		if len(results[n].marks) > 0 {
			records[name] = results[n]
		}
	}
	return records, nil
}

func (s *Source) refuse(refused []*registry.Refusal) {
	for _, r := range refused {
		s.config.Refused(r)
	}
}

// question says what a read of one service is to find out.
type question struct {
	before  record
	confirm func(mark) bool // whether the absence of that instance would be believed
}

func always(mark) bool { return true }
func never(mark) bool  { return false }

// answer is what a read of one service gave.
type answer struct {
	record  record // with what is hidden as it was before
	hidden  []mark // instances to confirm that are absent, and might only be hidden
	refused []*registry.Refusal
	barred  bool // Consul cannot be asked for that name
}

// readService asks the leader for one service. It never gives less than the
// truth: with an error it gives nothing, and what ACLs may hide stands as before.
func (s *Source) readService(ctx context.Context, c *client, name string, q question) (answer, error) {
	after, refused, err := s.readEntries(ctx, c, name)
	if unreadable(err) {
		return answer{record: q.before, barred: true, refused: []*registry.Refusal{{
			Reason: "unreadable", Detail: fmt.Sprintf("service %q cannot be asked for: %v", clip(name), err),
		}}}, nil
	}
	if err != nil {
		return answer{}, err
	}
	confirm := func() []mark {
		return slices.DeleteFunc(missing(q.before, after), func(m mark) bool { return !q.confirm(m) })
	}
	gone := confirm()
	if len(gone) == 0 || !c.acls.Load() {
		return answer{record: after, refused: refused}, nil
	}
	// Absent because it is gone, or because the token lost a right? Allowed to see
	// it before and after another read, and that read not filtered: it is gone.
	hidden, err := c.hidden(ctx, s, name, gone)
	if err != nil {
		return answer{}, err
	}
	if after, refused, err = s.readEntries(ctx, c, name); err != nil {
		return answer{}, err
	}
	gone = confirm()
	if after.filtered && !q.before.filtered {
		hidden = gone // a client agent may still believe that the token is allowed to
	} else {
		more, err := c.hidden(ctx, s, name, gone)
		if err != nil {
			return answer{}, err
		}
		hidden = append(hidden, more...)
	}
	hidden = slices.DeleteFunc(hidden, func(m mark) bool { _, there := after.marks[m]; return there })
	if len(hidden) == 0 {
		return answer{record: after, refused: refused}, nil
	}
	kept := keep(q.before, after, hidden)
	kept.filtered = q.before.filtered // so that it stays news until all is seen again
	return answer{record: kept, hidden: hidden, refused: append(refused, hiddenRefusal(name, hidden))}, nil
}

func (s *Source) readEntries(ctx context.Context, c *client, name string) (record, []*registry.Refusal, error) {
	entries, r, err := ask[[]wireEntry](ctx, c, pathService(name), nil, s.timing.request)
	if err != nil {
		return record{}, nil, err
	}
	after, refused := s.door.mapService(name, entries)
	after.index, after.filtered = r.index, r.filtered
	return after, refused, nil
}

// snapshotOf returns the services that have instances.
func snapshotOf(records map[string]record, index uint64) registry.Snapshot {
	services := make([]registry.Service, 0, len(records))
	for _, r := range records {
		if len(r.service.Instances) > 0 {
			services = append(services, r.service)
		}
	}
	return registry.NewSnapshot(strconv.FormatUint(index, 10), services...)
}
