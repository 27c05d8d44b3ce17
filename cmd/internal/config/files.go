package config

import (
	"errors"
	"maps"
	"os"
	"slices"
)

// Files returns the files that the section at field names, by field.
func (n NATS) Files(field string) map[string]Path {
	return map[string]Path{
		join(field, "credentials"): n.Credentials,
		join(field, "ca"):          n.CA,
		join(field, "cert"):        n.Cert,
		join(field, "key"):         n.Key,
	}
}

// Unreadable opens each file and tells, in the order of the fields, which can't
// be read on this machine. An empty path names no file.
func Unreadable(files map[string]Path) []Fault {
	var faults []Fault
	for _, field := range slices.Sorted(maps.Keys(files)) {
		path := string(files[field])
		if path == "" {
			continue
		}
		if err := readable(path); err != nil {
			faults = append(faults, Fault{Place: path, Field: field, Detail: "can't be read: " + err.Error()})
		}
	}
	return faults
}

func readable(path string) error {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = errors.New("it is a directory")
		}
	}
	if why, ok := errors.AsType[*os.PathError](err); ok {
		err = why.Err
	}
	return err
}
