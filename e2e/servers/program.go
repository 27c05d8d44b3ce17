package servers

import (
	"os"
	"os/exec"
	"testing"
)

// NeedProgram returns the path of a program that a Debian package brings. Where it is missing, the test ends as [Need]
// ends it: it fails if [RequireEnv] asks for the program, otherwise it is skipped and recorded.
func NeedProgram(tb testing.TB, program, debianPackage string) string {
	tb.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	if path := "/usr/sbin/" + program; executable(path) { // not on the PATH of those who are not root
		return path
	}
	giveUp(tb, &UnavailableError{Server: program, Reason: "there is no program " + program, Enable: "apt-get install " + debianPackage})
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
