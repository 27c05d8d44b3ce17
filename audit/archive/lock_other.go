//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// takeLock takes the lock of a folder: a file that must not be there. A process that is
// killed leaves it.
func takeLock(path string) (release func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w (%s): stop it first; when there is none, remove this file", ErrLocked, path)
	}
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(file.Close(), os.Remove(path)) }, nil
}
