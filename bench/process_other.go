//go:build !linux

package main

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// dieWithParent does nothing here: what is started ends when bench stops it, and
// outlives a bench that is killed.
func dieWithParent(*exec.Cmd) {}

func niceness() int { return 0 }

// usage is what a process has used so far.
type usage struct {
	processor time.Duration // user and system
	resident  float64       // MB now
	peak      float64       // MB, the most there ever was
}

var errNoProc = errors.New("this system has no /proc")

func usageOf(int) (usage, error) { return usage{}, errNoProc }

func idleShare(context.Context, time.Duration) (float64, error) { return 0, errNoProc }

func serverPID(string) (int, error) { return 0, errNoProc }

func connectionsTo(int, int) (int, error) { return 0, errNoProc }

func usageOfTree(int) (time.Duration, error) { return 0, errNoProc }
