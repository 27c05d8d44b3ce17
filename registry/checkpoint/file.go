package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is where checkpoints are kept: the latest at the path, the one before it at
// the path with .1 added. One goroutine uses it. Make one with [Open].
type File struct {
	path string
	zone string
	torn bool // what stands at path is no checkpoint: it does not become the one before
}

// ErrNone says that there is no checkpoint, which is no fault.
var ErrNone = errors.New("there is no checkpoint")

// Open names a path, and the zone whose checkpoints are read there. It touches no file.
func Open(path, zone string) *File { return &File{path: path, zone: zone} }

func (f *File) previous() string { return f.path + ".1" }
func (f *File) draft() string    { return f.path + ".tmp" }

// Read returns the newest checkpoint that can be used. When that is not the latest,
// fault says why; it is not an error. The error is [ErrNone], or says what is wrong
// with both.
func (f *File) Read() (c Checkpoint, fault, err error) {
	c, err = f.read(f.path)
	f.torn = err != nil && !errors.Is(err, ErrNone)
	if err == nil {
		return c, nil, nil
	}
	latest := err
	c, err = f.read(f.previous())
	switch {
	case err == nil:
		return c, latest, nil
	case errors.Is(latest, ErrNone) && errors.Is(err, ErrNone):
		return Checkpoint{}, nil, ErrNone
	case errors.Is(latest, ErrNone):
		return Checkpoint{}, nil, err
	case errors.Is(err, ErrNone):
		return Checkpoint{}, nil, latest
	}
	return Checkpoint{}, nil, errors.Join(latest, err)
}

func (f *File) read(path string) (Checkpoint, error) {
	content, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, ErrNone
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	c, err := Decode(content, f.zone)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return c, nil
}

// readBounded reads a regular file of at most [MaxFile] bytes.
func readBounded(path string) ([]byte, error) {
	about, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !about.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	if about.Size() > MaxFile {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrDamaged, about.Size(), MaxFile)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content := make([]byte, about.Size())
	if _, err := io.ReadFull(file, content); err != nil {
		return nil, err
	}
	return content, nil
}

// Write replaces the latest checkpoint, which becomes the one before. When it fails,
// what stood there stands. It returns the new file's length in bytes.
func (f *File) Write(c Checkpoint) (size int64, err error) {
	c.Zone = f.zone
	if size, err = f.write(c); err != nil {
		os.Remove(f.draft()) //nolint:errcheck // it may not be there, and a full disk is to have its room back
		return 0, fmt.Errorf("write checkpoint %s: %w", f.path, err)
	}
	return size, nil
}

func (f *File) write(c Checkpoint) (size int64, err error) {
	file, err := os.OpenFile(f.draft(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(file, 256<<10)
	err = Encode(w, c)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		size, err = file.Seek(0, io.SeekCurrent)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return 0, err
	}
	if !f.torn {
		if err := os.Rename(f.path, f.previous()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	if err := os.Rename(f.draft(), f.path); err != nil {
		return 0, err
	}
	f.torn = false
	return size, syncDirectory(filepath.Dir(f.path))
}

// syncDirectory makes the renames last.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
