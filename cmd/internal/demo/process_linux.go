package demo

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end the child when the demo is killed itself, and
// keeps a terminal's Ctrl-C from reaching it before the demo does.
func dieWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
