package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// processes runs the daemons as processes of their own, so that one can be killed
// for real. All methods may be called from any goroutine.
type processes struct {
	mu      sync.Mutex // guards running
	running map[string]*process
}

type process struct {
	command *exec.Cmd
	done    chan struct{} // closed once it has ended
}

// start runs a command until ctx ends; what it prints goes to the end of the log file.
func (p *processes) start(ctx context.Context, name, log string, command ...string) error {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() // the process has its own handle
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stdout, c.Stderr = out, out
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second // then it is killed
	dieWithParent(c)
	if err := c.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	started := &process{command: c, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running = map[string]*process{}
	}
	p.running[name] = started
	go func() {
		_ = c.Wait() // how it ended is in its log
		close(started.done)
	}()
	return nil
}

// kill ends a process with SIGKILL and waits until it is gone.
func (p *processes) kill(name string) error {
	p.mu.Lock()
	running := p.running[name]
	p.mu.Unlock()
	if running == nil {
		return errors.New(name + " does not run")
	}
	if err := running.command.Process.Kill(); err != nil {
		return err
	}
	<-running.done
	return nil
}

// ended tells which process is no longer there; "" when all are.
func (p *processes) ended() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, running := range p.running {
		select {
		case <-running.done:
			return name
		default:
		}
	}
	return ""
}

// wait returns once all have ended; their context must have ended before.
func (p *processes) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, running := range p.running {
		<-running.done
	}
}
