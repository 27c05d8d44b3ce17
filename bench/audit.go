package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/audit/replay"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// How large the history is that questions are asked of.
const (
	pastEvents   = 2_000_000
	pastServices = 10_000
)

// measureAudit makes a long history and asks about its past, beside a scan of all of it.
func measureAudit(ctx context.Context, s *site, r *result) error {
	a := &auditBench{site: s, result: r, events: pastEvents, services: pastServices, questions: 40, moments: 5}
	if s.options.quick {
		a.events, a.services, a.questions, a.moments = 40_000, 300, 6, 3
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as the command does
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(400 << 20))
	for _, step := range []func(context.Context) error{a.first, a.whole, a.service, a.log, a.diff, a.replay, a.verify, a.keep, a.whole, a.service, a.log, a.diff, a.replay, a.verify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if used, err := usageOf(os.Getpid()); err == nil {
		r.number("resident memory of whoever asks, the most there was but for the scans", "%.0f MB", a.peak, "≤ 500 MB", atMost(500.0))
		s.say("%.0f MB at most, with the scans", used.peak)
	}
	return nil
}

type auditBench struct {
	*site
	*result
	events, services   int
	questions, moments int

	past    *past
	history audit.History
	kept    bool // history is the archive
	span    audit.Span
	random  *rand.Rand
	peak    float64 // MB
	server  int     // its process; 0: not known
	used    time.Duration
}

// processor is what bench and the server have used so far; 0 where nobody can tell.
func (a *auditBench) processor() (total time.Duration) {
	for _, pid := range []int{os.Getpid(), a.server} {
		u, err := usageOf(pid)
		if err != nil {
			return 0
		}
		total += u.processor
	}
	return total
}

// open makes the history, and starts the server anew on it.
func (a *auditBench) open(ctx context.Context) error {
	if err := a.startNATS(ctx); err != nil {
		return err
	}
	if dir, err := a.folder("nats"); err == nil {
		a.server, _ = serverPID(dir) // 0: the figures that need it are left at 0
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	if _, _, err := conn.CreateStreams(ctx, stream.Settings{HistoryAge: 30 * 24 * time.Hour}); err != nil {
		return err
	}
	began := time.Now()
	next := a.events / 10
	a.past, err = makePast(ctx, conn, a.services, a.events, func(count int) {
		if count >= next {
			a.say("%d events are made, %.0f a second", count, float64(count)/time.Since(began).Seconds())
			next += a.events / 10
		}
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	a.random, a.history = rand.New(rand.NewPCG(1, 1)), audit.OfStream(conn)
	if a.span, err = a.history.Span(ctx); err != nil {
		return err
	}
	a.note("%d events of %d services in %d clusters and %d days, %d bytes each on average with their headers, made in %.0f s. All of them are stored within these seconds: a day is a number of events here.",
		a.past.count, a.services, servingClusters, a.past.days, a.past.bytes/a.past.count, took.Seconds())
	return nil
}

// timed measures a question, and the memory that it takes.
func (a *auditBench) timed(ask func() error) (time.Duration, error) {
	debug.FreeOSMemory()
	forget := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew
	began, before := time.Now(), a.processor()
	err := ask()
	took := time.Since(began)
	a.used = a.processor() - before
	if used, fault := usageOf(os.Getpid()); fault == nil && forget == nil {
		a.peak = max(a.peak, used.peak)
	}
	return took, err
}

// at is a moment, as a share of the history.
func (a *auditBench) at(share float64) audit.Moment {
	return audit.Moment{Sequence: a.span.First + uint64(share*float64(a.span.Last-a.span.First))}
}

// first asks one service's state as the very first question, when the server has
// nothing in memory but what was written last.
func (a *auditBench) first(ctx context.Context) error {
	took, err := a.timed(func() error {
		_, err := audit.ServiceAt(ctx, a.history, a.at(0.3), pastKey(a.services/2))
		return err
	})
	if err != nil {
		return err
	}
	a.number("one service at a moment, the first question of all", "%.0f ms", milliseconds(took), "", nil)
	return nil
}

// whole asks for everything at several moments, and holds it against the scan.
func (a *auditBench) whole(ctx context.Context) error {
	var asked, scanned, used, usedByScan samples
	for n := range a.moments {
		m := a.at(float64(2*n+1) / float64(2*a.moments))
		var v *registry.View
		took, err := a.timed(func() (err error) { v, err = audit.At(ctx, a.history, m); return err })
		if err != nil {
			return err
		}
		asked, used = append(asked, took), append(used, a.used)
		a.say("all at #%d: %v", m.Sequence, took.Round(time.Millisecond))
		if n != a.moments/2 || a.kept {
			continue // a scan takes its time
		}
		began, before := time.Now(), a.processor()
		want, err := scanAll(ctx, a.history, m)
		if err != nil {
			return err
		}
		scanned, usedByScan = append(scanned, time.Since(began)), append(usedByScan, a.processor()-before)
		if !bytes.Equal(v.AppendCanonical(nil), want.AppendCanonical(nil)) {
			return fmt.Errorf("the registry at #%d is not what a scan of the whole history gives", m.Sequence)
		}
	}
	a.times(a.of("the whole registry at a moment"), asked, "≤ 2,000 ms", func(t summary) bool { return t.Max <= 2000 })
	a.times("… processor time of bench and the server", used, "", nil)
	if a.kept {
		return nil
	}
	a.times("… by a scan from the beginning, to the middle", scanned, "", nil)
	a.times("… its processor time", usedByScan, "", nil)
	a.note("Each View that was also made by a scan is the same, byte for byte.")
	return nil
}

// scanAll is the naive way: the fold of everything.
func scanAll(ctx context.Context, h audit.History, m audit.Moment) (*registry.View, error) {
	f, d := registry.NewFold(), stream.NewStoredDecoder()
	for message, err := range h.Read(ctx, audit.Range{To: m.Sequence}) {
		if err != nil {
			return nil, err
		}
		f.Apply(d.Decode(message))
	}
	f.Synced()
	return f.View(), nil
}

// service asks for single services at random moments.
func (a *auditBench) service(ctx context.Context) error {
	var asked, used samples
	for range a.questions {
		m, key := a.at(a.random.Float64()), pastKey(a.random.IntN(a.services))
		took, err := a.timed(func() error {
			v, err := audit.ServiceAt(ctx, a.history, m, key)
			if err == nil {
				if _, known := v.Service(key); !known && m.Sequence > uint64(4*a.services) {
					return fmt.Errorf("%s is not known at #%d", key, m.Sequence)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		asked, used = append(asked, took), append(used, a.used)
	}
	a.times(a.of("one service at a moment"), asked, "p99 ≤ 50 ms", p99Within(50))
	a.times("… processor time of bench and the server", used, "", nil)
	return nil
}

// log asks for the history of single services.
func (a *auditBench) log(ctx context.Context) error {
	var first, all samples
	lines := 0
	for range a.questions / 4 {
		q := audit.Query{Service: pastKey(a.random.IntN(a.services))}
		began := time.Now()
		met := false
		for _, err := range audit.Log(ctx, a.history, q) {
			if err != nil {
				return err
			}
			if lines++; !met {
				first, met = append(first, time.Since(began)), true
			}
		}
		all = append(all, time.Since(began))
	}
	a.times(a.of("the log of one service, until its first line"), first, "p99 ≤ 100 ms", p99Within(100))
	a.times(fmt.Sprintf("… all of it, %d lines", lines/max(a.questions/4, 1)), all, "", nil)
	return nil
}

// diff asks what differs between two moments.
func (a *auditBench) diff(ctx context.Context) error {
	var asked samples
	found := 0
	for range max(a.moments/2, 1) {
		from, to := a.at(a.random.Float64()/2), a.at(0.5+a.random.Float64()/2)
		took, err := a.timed(func() error {
			old, err := audit.At(ctx, a.history, from)
			if err != nil {
				return err
			}
			next, err := audit.At(ctx, a.history, to)
			if err == nil {
				found = len(audit.Diff(old, next))
			}
			return err
		})
		if err != nil {
			return err
		}
		asked = append(asked, took)
	}
	a.times(a.of("what differs between two moments"), asked, "≤ 4,000 ms", func(t summary) bool { return t.Max <= 4000 })
	if !a.kept {
		a.note("The last comparison found %d differences. By scans it takes as long as two of them.", found)
	}
	return nil
}

// keep makes an archive of all, of which what follows is asked.
func (a *auditBench) keep(ctx context.Context) (err error) {
	dir, err := a.folder("archive")
	if err != nil {
		return err
	}
	w, err := archive.NewWriter(dir, archive.Options{})
	if err != nil {
		return err
	}
	if err := a.rate("archive, all of the stream", "", func() (int, error) {
		err := errors.Join(w.CatchUp(ctx, a.history, nil), w.Close())
		return a.past.count, err
	}); err != nil {
		return err
	}
	kept, err := archive.Open(dir)
	if err != nil {
		return err
	}
	a.atEnd(kept.Close)
	a.history, a.kept = kept, true
	return nil
}

// of names a figure by where the history is read from.
func (a *auditBench) of(what string) string {
	if a.kept {
		return "from an archive: " + what
	}
	return what
}

// replay lives through the whole history again, as fast as it goes.
func (a *auditBench) replay(ctx context.Context) error {
	return a.rate("replay, as fast as it goes", hundredThousand, func() (int, error) {
		p, err := replay.Run(ctx, replay.Config{History: a.history, From: a.moment(a.span.First), To: a.moment(a.span.Last), Listen: "127.0.0.1:0"})
		return p.Events, err
	})
}

// verify proves the whole history: digests and chains, without signatures.
func (a *auditBench) verify(ctx context.Context) error {
	return a.rate("verify, digests and chains", hundredThousand, func() (int, error) {
		r, err := chain.VerifyAgainst(ctx, chain.Options{Whole: true}, a.history.Read(ctx, audit.Range{}))
		if err == nil && !r.Intact() {
			err = fmt.Errorf("the history that was made is not intact: %v", r.Faults[0])
		}
		return int(r.Messages), err
	})
}

// moment is the state after a message, at a time of which replay makes nothing here.
func (a *auditBench) moment(sequence uint64) audit.Moment {
	return audit.Moment{Sequence: sequence, Time: a.span.Begin}
}

// hundredThousand is the rate that replay and verify are to reach.
const hundredThousand = "≥ 100,000 events/s"

// rate measures what goes through the whole history.
func (a *auditBench) rate(what, target string, do func() (events int, err error)) error {
	events := 0
	took, err := a.timed(func() (err error) { events, err = do(); return err })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	a.say("%s: %d events in %v", what, events, took.Round(time.Millisecond))
	var reached func(float64) bool
	if target != "" {
		reached = atLeast(100_000.0)
	}
	a.number(a.of(what), "%.0f events/s", float64(events)/took.Seconds(), target, reached)
	a.number("… of processor time, of bench and the server", "%.0f events/s", float64(events)/max(a.used.Seconds(), 1e-9), "", nil)
	return nil
}
