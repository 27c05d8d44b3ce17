package proc

import (
	"runtime"
	"runtime/debug"
)

// linked is set by the linker: -ldflags "-X …/cmd/internal/proc.linked=v1.2.3".
var linked string

// Version returns the version of this build: what the linker was given, else the
// module's version, else the commit it was built from, else "devel".
func Version() string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + modified
}

// versionLine is what --version prints behind the command's name.
func versionLine() string {
	return Version() + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
