//go:build !linux

package servers

import "os/exec"

// dieWithParent does nothing here: only Linux ties a process's life to its parent's.
func dieWithParent(*exec.Cmd) {}

// untilStopped does not wait here: only Linux is asked.
func untilStopped(int) error { return nil }
