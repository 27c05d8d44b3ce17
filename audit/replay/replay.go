package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/dnsserver"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/registry"
)

// Config says what is lived through again, and how.
type Config struct {
	History audit.History
	From    audit.Moment // the state after its sequence is where it begins; its time is where the clock begins
	To      audit.Moment // the last sequence that is applied; its time, when later, is waited for

	// Speed is how many seconds of the history pass in one; 0: as fast as it goes.
	Speed float64

	// Listen is where the private DNS server listens, as "127.0.0.1:0"; "": there is none.
	Listen string
	// Stay makes it go on answering as at To, until the context ends.
	Stay bool

	Store  *registry.Store // where the Views appear; nil: one that nobody else sees
	Logger *slog.Logger    // nil: nothing is logged

	// Listening is told where the DNS server listens, before anything is applied; nil
	// for nobody.
	Listening func(netip.AddrPort)
	// Progress is told how far it is: at the beginning, whenever Every has passed (200
	// ms by default), and at each change of phase. One goroutine calls it; it must not
	// block. Nil for nobody.
	Progress func(Progress)
	Every    time.Duration
}

// Phase is what a replay is doing.
type Phase string

// The phases, in their order.
const (
	Beginning Phase = "beginning" // finding out what stood at From
	Living    Phase = "living"    // applying what came
	Over      Phase = "over"      // To is reached
)

// Progress is how far a replay is.
type Progress struct {
	Phase       Phase
	Sequence    uint64        // applied last
	At          time.Time     // where its clock is, within the history
	Stood       int           // facts that stood at From
	Events      int           // applied since then
	Unusable    int           // messages since then that can't be used
	Took        time.Duration // since Living began
	From, To    time.Time
	FirstUnused error // why the first of the Unusable was refused; nil: none was
}

// Rate returns the events applied per second of Living.
func (p Progress) Rate() float64 {
	if p.Took <= 0 {
		return 0
	}
	return float64(p.Events) / p.Took.Seconds()
}

// Done returns how much of the time between From and To has passed, 0 to 1.
func (p Progress) Done() float64 {
	whole := p.To.Sub(p.From)
	if p.Phase == Over || whole <= 0 && p.Phase == Living {
		return 1
	}
	if p.Phase == Beginning {
		return 0
	}
	return min(max(float64(p.At.Sub(p.From))/float64(whole), 0), 1)
}

// Run replays, and returns how far it came. It blocks until To is reached and, with
// Stay, until ctx ends, which is no error then. Before that the end of ctx is one: its
// cause. A From that the history does not reach back to is an [*audit.TooEarlyError].
// Everything it started has ended when it returns.
func Run(ctx context.Context, config Config) (Progress, error) {
	switch {
	case config.To.Sequence < config.From.Sequence || config.To.Time.Before(config.From.Time):
		return Progress{}, errors.New("a replay ends before it begins")
	case config.Speed < 0:
		return Progress{}, fmt.Errorf("a speed of %v is below 0", config.Speed)
	}
	if config.Store == nil {
		config.Store = &registry.Store{}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Every <= 0 {
		config.Every = 200 * time.Millisecond
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	p := newPlayer(config)
	p.tell()
	if err := p.begin(ctx); err != nil {
		return p.progress, cause(outer, ctx, err)
	}
	if config.Listen != "" {
		if err := p.serve(ctx, &wg, cancel); err != nil {
			return p.progress, cause(outer, ctx, err)
		}
	}
	if err := p.live(ctx); err != nil {
		return p.progress, cause(outer, ctx, err)
	}
	if config.Stay {
		<-ctx.Done()
		if outer.Err() == nil {
			return p.progress, context.Cause(ctx)
		}
	}
	return p.progress, nil
}

// cause prefers the reason of an end to what the end made fail.
func cause(outer, inner context.Context, err error) error {
	switch {
	case outer.Err() != nil:
		return context.Cause(outer)
	case inner.Err() != nil:
		return context.Cause(inner)
	}
	return err
}

// serve starts the DNS server, and waits until it listens.
func (p *player) serve(ctx context.Context, wg *sync.WaitGroup, cancel context.CancelCauseFunc) error {
	server, err := dnsserver.New(dnsserver.Config{Listen: []string{p.config.Listen}}, p.config.Store, unobserved{}, p.config.Logger)
	if err != nil {
		return err
	}
	wg.Go(func() {
		if err := server.Run(ctx); err != nil {
			cancel(err)
		}
	})
	select {
	case <-server.Listening():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.config.Listening != nil {
		p.config.Listening(server.Addresses()[0])
	}
	return nil
}

// unobserved counts nothing.
type unobserved struct{}

func (unobserved) Answered(dnsserver.Protocol, string, time.Duration) {}
func (unobserved) Dropped(dnsserver.Protocol, dnsserver.Drop)         {}
func (unobserved) Noted(dnsserver.Protocol, dnsserver.Note)           {}
func (unobserved) Transferred(transfer.Kind, transfer.Result)         {}
