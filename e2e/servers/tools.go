package servers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// command runs a program in dir and returns what it printed on standard output; in an error, the end of all it printed.
func command(ctx context.Context, dir string, environ []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
	dieWithParent(cmd)
	var printed, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &complained
	if err := cmd.Run(); err != nil {
		output := printed.String() + "\n" + complained.String()
		output = strings.TrimSpace(strings.ReplaceAll(output, "\x1b[0m", "")) // Debian's mvn resets colours even in a file
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, lastLines(output, 15))
	}
	return strings.TrimSpace(printed.String()), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// goBuild builds a command of a module that the go.mod above dir names, as a static binary without debug symbols.
func goBuild(ctx context.Context, dir, out, pkg string, environ ...string) error {
	environ = append(environ, "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOWORK=off")
	_, err := command(ctx, dir, environ, "go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	return err
}

// hashFiles is a short hash of the names and contents of all files below a directory.
func hashFiles(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.ToSlash(name), len(content), content)
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil))[:12], err
}
