package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startPatience is long because two cores may be starting several servers beside a compiler.
	startPatience = 3 * time.Minute
	stopPatience  = 20 * time.Second
	// askAgain is the pause between two questions whether a server is ready.
	askAgain = 25 * time.Millisecond
)

// Process is a server's operating system process, which can be ended and started again on the same ports and data.
//
// Its methods may be called by several goroutines; they take turns.
type Process struct {
	name string
	dir  string // its working directory; everything it writes is below
	path string
	args []string
	// started is what the server logs once it listens. An answer on the port alone might be someone else's.
	started string
	// answers asks the server something that only a working one can answer. Nil means that started is enough.
	answers func(ctx context.Context) error

	mu      sync.Mutex // guards following
	running *run       // nil: never started, or ended by Stop or Kill
}

// run is one life of a process.
type run struct {
	process *os.Process
	exited  chan struct{} // closed when the process has been reaped
	err     error         // why it ended; valid once exited is closed
}

// Start starts the server and returns when it answers. The context bounds the waiting, not the server's life.
// After an error the server is not running. Starting a running server is an error.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return fmt.Errorf("%s: is running already", p.name)
	}
	logged := p.logSize()
	r, err := p.launch()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("not ready within %v", startPatience))
	defer cancel()
	if err := p.untilReady(ctx, r, logged); err != nil {
		_ = r.process.Kill()
		<-r.exited
		return fmt.Errorf("%s: %w; the end of its log:\n%s", p.name, err, p.LogTail())
	}
	p.running = r
	return nil
}

// Stop asks the server to end (SIGTERM) and waits until it has. A server that does not obey in time is killed, which
// is an error, and so is one that had ended by itself. Stopping a stopped server does nothing.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

// Kill ends the server at once (SIGKILL), as a crash would, and waits until it is gone. What it had written survives,
// synced or not: this is no power cut. A server that had ended by itself is an error. Killing a stopped one does nothing.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Pause freezes the server (SIGSTOP): its connections stay open and nothing is answered, as on a hung machine. On
// Linux it is frozen when Pause returns, elsewhere soon after.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP, untilStopped) }

// Resume lets a paused server go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT, nil) }

// String names the server for people.
func (p *Process) String() string { return p.name }

// LogFile is where the server's output is kept, of all its starts.
func (p *Process) LogFile() string { return p.dir + "/output.log" }

// LogTail is the end of the server's output, at most 16 KiB.
func (p *Process) LogTail() string {
	const most = 16 << 10
	return string(p.logFrom(max(0, p.logSize()-most)))
}

func (p *Process) end(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.running
	if r == nil {
		return nil
	}
	p.running = nil
	if r.hasExited() {
		return fmt.Errorf("%s: had ended by itself: %v; the end of its log:\n%s", p.name, r.err, p.LogTail())
	}
	_ = r.process.Signal(sig)             // an error means that it ended just now
	_ = r.process.Signal(syscall.SIGCONT) // a paused process would never see the signal
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-r.exited:
		return nil
	case <-patience.C:
	}
	_ = r.process.Kill()
	<-r.exited
	return fmt.Errorf("%s: did not end within %v of %v, and was killed", p.name, stopPatience, sig)
}

func (p *Process) signal(sig syscall.Signal, until func(pid int) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return fmt.Errorf("%s: is not running", p.name)
	}
	process := p.running.process
	err := process.Signal(sig)
	if err == nil && until != nil {
		err = until(process.Pid)
	}
	if err != nil {
		return fmt.Errorf("%s: %v: %w", p.name, sig, err)
	}
	return nil
}

// launch starts the process and the goroutine that reaps it.
func (p *Process) launch() (*run, error) {
	output, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, output, output
	dieWithParent(cmd)
	r := &run{exited: make(chan struct{})}
	launched := make(chan error)
	go func() {
		// The kernel ties "die with the parent" to the thread that forked, so that thread must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer output.Close()
		err := cmd.Start()
		r.process = cmd.Process
		launched <- err
		if err == nil {
			r.err = cmd.Wait()
		}
		close(r.exited)
	}()
	return r, <-launched
}

func (p *Process) untilReady(ctx context.Context, r *run, logged int64) error {
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	last := errors.New("it has not logged that it started")
	for {
		if bytes.Contains(p.logFrom(logged), []byte(p.started)) {
			if last = p.asks(ctx); last == nil {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-r.exited:
			return &exitedEarlyError{err: r.err, portTaken: mentionsTakenPort(p.logFrom(logged))}
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", context.Cause(ctx), last)
		}
	}
}

func (p *Process) asks(ctx context.Context) error {
	if p.answers == nil {
		return nil
	}
	// One question that hangs must not use up the patience for all.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return p.answers(ctx)
}

func (p *Process) logSize() int64 {
	info, err := os.Stat(p.LogFile())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logFrom is the server's output from an offset on; nothing when it cannot be read.
func (p *Process) logFrom(offset int64) []byte {
	file, err := os.Open(p.LogFile())
	if err != nil {
		return nil
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, offset, 1<<30))
	if err != nil {
		return nil
	}
	return text
}

func (r *run) hasExited() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// exitedEarlyError says that a server ended before it was ready.
type exitedEarlyError struct {
	err       error
	portTaken bool
}

func (e *exitedEarlyError) Error() string { return fmt.Sprintf("ended before it was ready: %v", e.err) }

func mentionsTakenPort(log []byte) bool {
	text := strings.ToLower(string(log))
	return strings.Contains(text, "address already in use") || strings.Contains(text, "was already in use")
}
