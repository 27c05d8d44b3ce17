package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// daemon is a running program of ours. Its methods may be called by several goroutines.
type daemon struct {
	name    string
	log     string // file
	began   time.Time
	command *exec.Cmd
	stdin   io.WriteCloser // closed by stop
	ended   chan struct{}
}

// startDaemon starts a program with more environment variables than ours, and the
// log as its output. It ends with bench, however that ends.
func (s *site) startDaemon(program string, environ []string, args ...string) (*daemon, error) {
	return s.startProgram(program, environ, nil, args...)
}

// startProgram is startDaemon; what it prints goes to stdout unless that is nil.
func (s *site) startProgram(program string, environ []string, stdout *os.File, args ...string) (*daemon, error) {
	name := filepath.Base(program)
	out, err := os.CreateTemp(s.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	d := &daemon{name: name, log: out.Name(), command: exec.Command(program, args...), ended: make(chan struct{})} //nolint:noctx // stop ends it
	d.command.Dir, d.command.Env = s.dir, append(os.Environ(), environ...)
	d.command.Stdout, d.command.Stderr = out, out
	if stdout != nil {
		d.command.Stdout = stdout
	}
	dieWithParent(d.command)
	if d.stdin, err = d.command.StdinPipe(); err != nil {
		return nil, err
	}
	began := make(chan error)
	go func() {
		// The kernel ties "die with the parent" to the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		d.began = time.Now()
		err := d.command.Start()
		began <- err
		if err == nil {
			_ = d.command.Wait() // how it ended is in its log
		}
		close(d.ended)
	}()
	return d, <-began
}

func (d *daemon) pid() int { return d.command.Process.Pid }

func (d *daemon) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

func (d *daemon) logTail() string {
	text, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// stop asks the program to end, waits, and kills it when it does not.
func (d *daemon) stop() error {
	if d.hasEnded() {
		return fmt.Errorf("%s had ended by itself; the end of its log:\n%s", d.name, d.logTail())
	}
	_ = d.stdin.Close()
	_ = d.command.Process.Signal(syscall.SIGTERM) // an error means that it ended just now
	patience := time.NewTimer(15 * time.Second)
	defer patience.Stop()
	select {
	case <-d.ended:
		return nil
	case <-patience.C:
	}
	_ = d.command.Process.Kill()
	<-d.ended
	return fmt.Errorf("%s did not end when asked to, and was killed", d.name)
}
