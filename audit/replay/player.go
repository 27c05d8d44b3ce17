package replay

import (
	"context"
	"iter"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// player applies messages when they are due. One goroutine uses it.
type player struct {
	config   Config
	fold     *registry.Fold
	progress Progress
	began    time.Time // of Living, by our own monotonic clock
	told     time.Time // when Progress was last called
	shown    time.Time // when a View was last published
	dirty    bool      // the Fold knows more than the Store shows
}

// publishing is the time between two Views while messages follow each other as fast as
// they can: nobody sees more, and each View costs.
const publishing = 20 * time.Millisecond

func newPlayer(config Config) *player {
	return &player{
		config:   config,
		progress: Progress{Phase: Beginning, At: config.From.Time, From: config.From.Time, To: config.To.Time},
	}
}

// begin finds out what stood at From. A message that nobody could use took nothing away
// from what stood before it, which the last message of each subject alone does not tell.
func (p *player) begin(ctx context.Context) error {
	v, err := audit.At(ctx, p.config.History, p.config.From)
	if err != nil {
		return err
	}
	facts := v.Facts()
	p.fold = registry.Restore(facts, p.config.From.Sequence)
	p.fold.Synced()
	p.progress.Stood, p.progress.Sequence, p.dirty = len(facts), p.config.From.Sequence, true
	p.publish()
	return nil
}

// live applies what came after From.
func (p *player) live(ctx context.Context) error {
	p.began = time.Now()
	p.progress.Phase = Living
	p.tell()
	if p.config.To.Sequence > p.config.From.Sequence {
		read := func(ctx context.Context) iter.Seq2[registry.Stored, error] {
			return p.config.History.Read(ctx, audit.Range{From: p.config.From.Sequence + 1, To: p.config.To.Sequence})
		}
		for batch, err := range stream.DecodeAll(ctx, read) {
			if err != nil {
				return err
			}
			for _, m := range batch {
				if err := p.wait(ctx, m.Stored); err != nil {
					return err
				}
				p.apply(m)
				p.progress.Events++
				p.progress.At = m.Stored
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if time.Since(p.shown) >= publishing {
				p.publish()
			}
			p.tellSometimes()
		}
	}
	if err := p.wait(ctx, p.config.To.Time); err != nil {
		return err
	}
	p.publish()
	p.progress.Phase, p.progress.At = Over, p.config.To.Time
	p.tell()
	return ctx.Err()
}

func (p *player) apply(m registry.Message) {
	out := p.fold.Apply(m)
	if out.Result == registry.Quarantined {
		if p.progress.Unusable++; p.progress.FirstUnused == nil && m.Refused != nil {
			p.progress.FirstUnused = m.Refused
		}
	}
	p.progress.Sequence = max(p.progress.Sequence, m.Sequence)
	p.dirty = true
}

// due returns how long it takes until a moment of the history comes.
func (p *player) due(at time.Time) time.Duration {
	if p.config.Speed == 0 {
		return 0
	}
	return time.Duration(float64(at.Sub(p.config.From.Time))/p.config.Speed) - time.Since(p.began)
}

// wait lets time pass until a moment of the history has come. What was applied is
// shown meanwhile.
func (p *player) wait(ctx context.Context, at time.Time) error {
	for {
		due := p.due(at)
		if due <= 0 {
			return nil
		}
		p.publish()
		timer := time.NewTimer(min(due, p.config.Every))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		passed := time.Duration(float64(time.Since(p.began)) * p.config.Speed)
		if now := p.config.From.Time.Add(passed); now.After(p.progress.At) && now.Before(at) {
			p.progress.At = now
		}
		p.tellSometimes()
	}
}

// publish shows what was applied.
func (p *player) publish() {
	if !p.dirty {
		return
	}
	p.config.Store.Publish(p.fold.View())
	p.dirty, p.shown = false, time.Now()
}

func (p *player) tellSometimes() {
	if time.Since(p.told) >= p.config.Every {
		p.tell()
	}
}

func (p *player) tell() {
	p.told = time.Now()
	if p.progress.Phase != Beginning {
		p.progress.Took = time.Since(p.began)
	}
	if p.config.Progress != nil {
		p.config.Progress(p.progress)
	}
}
