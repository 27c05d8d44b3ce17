package servers

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// SmallDisk puts a file system of so many kilobytes on a folder, until the test ends, and returns what gives it another
// size. Only root may do that, on Linux. Where it cannot be done the test ends as [Need] ends it, under the name root.
func SmallDisk(tb testing.TB, dir string, kilobytes int) (resize func(kilobytes int)) {
	tb.Helper()
	missing := &UnavailableError{Server: "root", Enable: "run the tests as root on Linux, with CAP_SYS_ADMIN"}
	if os.Geteuid() != 0 {
		missing.Reason = "only root may mount a file system"
		giveUp(tb, missing)
	}
	ctx := context.WithoutCancel(tb.Context()) // which has ended when the folder is given back
	if _, err := command(ctx, "", nil, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk,mode=700", kilobytes), "tmpfs", dir); err != nil {
		missing.Reason = err.Error()
		giveUp(tb, missing)
	}
	tb.Cleanup(func() {
		if _, err := command(ctx, "", nil, "umount", "-l", dir); err != nil {
			tb.Error(err)
		}
	})
	return func(kilobytes int) {
		tb.Helper()
		if _, err := command(ctx, "", nil, "mount", "-o", fmt.Sprintf("remount,size=%dk", kilobytes), dir); err != nil {
			tb.Fatal(err)
		}
	}
}
