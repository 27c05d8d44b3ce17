package nacos

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/logger"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

// sdk guards what the SDK keeps once per process: its logger, and a map of
// clients that it changes without a lock when a client is closed (SDK issue
// #861). It is this package's only variable, because the thing it guards is one.
var sdk = process{turn: make(chan struct{}, 1)}

// process takes turns in opening and closing clients.
type process struct {
	turn   chan struct{} // holds a token while a client is opened or closed
	joined bool          // the SDK logs to log; guarded by turn
	log    sdkLog
}

// open makes a client. It waits for its turn, which ends with ctx; the SDK itself
// then connects for some seconds at most and can't be interrupted.
func (p *process) open(ctx context.Context, param vo.NacosClientParam) (client naming_client.INamingClient, err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.turn }()
	if !p.joined {
		logger.SetLogger(&p.log) // before the first client, which would open a log file
		p.joined = true
	}
	err = guarded(func() error {
		client, err = clients.NewNamingClient(param)
		return err
	})
	return client, err
}

// close ends clients, one after the other. The SDK may hang in it (it tells its
// own goroutines on a channel that they may have stopped reading): after the
// patience it is left behind, and error says so.
func (p *process) close(open []naming_client.INamingClient, patience time.Duration) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.turn <- struct{}{}
		defer func() { <-p.turn }()
		for _, c := range open {
			_ = guarded(func() error { c.CloseClient(); return nil })
		}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("the SDK did not close its clients within %v", patience)
	}
}

// guarded calls the SDK and makes an error of a panic there: what a server sends
// must not end the process.
func guarded(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the Nacos SDK panicked: %v", p)
		}
	}()
	return call()
}

// sdkLog is the SDK's logger. The SDK has one per process and does not say which
// client speaks, so everything goes to the Watch that has run longest. Its many
// lines are below ours in worth: errors and warnings are debug lines here, what
// they mean for the catalog is said by the Watch itself; the rest, which holds
// whole requests with their tokens, is dropped.
type sdkLog struct {
	mu      sync.Mutex // guards running
	running []*slog.Logger
}

// join adds a logger until leave is called.
func (l *sdkLog) join(to *slog.Logger) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = append(l.running, to)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if at := slices.Index(l.running, to); at >= 0 {
			l.running = slices.Delete(l.running, at, at+1)
		}
	}
}

func (l *sdkLog) line(level, format string, args []any) {
	l.mu.Lock()
	var to *slog.Logger
	if len(l.running) > 0 {
		to = l.running[0]
	}
	l.mu.Unlock()
	if to == nil {
		return
	}
	text := fmt.Sprint(args...)
	if format != "" {
		text = fmt.Sprintf(format, args...)
	}
	to.Debug("the Nacos SDK says", "sdk_level", level, "text", clip(text))
}

func (l *sdkLog) Error(args ...any)                 { l.line("error", "", args) }
func (l *sdkLog) Errorf(format string, args ...any) { l.line("error", format, args) }
func (l *sdkLog) Warn(args ...any)                  { l.line("warn", "", args) }
func (l *sdkLog) Warnf(format string, args ...any)  { l.line("warn", format, args) }
func (l *sdkLog) Info(...any)                       {}
func (l *sdkLog) Infof(string, ...any)              {}
func (l *sdkLog) Debug(...any)                      {}
func (l *sdkLog) Debugf(string, ...any)             {}
func (l *sdkLog) Close() error                      { return nil }
