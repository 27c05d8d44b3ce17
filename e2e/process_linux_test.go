package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end a daemon when the test is killed.
func dieWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
