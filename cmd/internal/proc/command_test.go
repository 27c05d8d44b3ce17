package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

// shape is the configuration of the daemon that the tests of the command use.
type shape struct {
	Name string `yaml:"name" help:"a name"`
	HTTP string `yaml:"http" default:"127.0.0.1:1" help:"address to listen on"`
}

func daemon(run func(ctx context.Context, p *Process) error) Daemon {
	return Daemon{
		Name: "testd", Short: "A daemon for tests", Long: "testd does nothing.", Example: "testd --name x",
		AddFlags: func(flags *pflag.FlagSet) { config.AddFlags(flags, &shape{}) },
		Check: func(in Input, files bool) []config.Fault {
			var s shape
			r := config.Load(&s, in.Path, in.Environ, in.Flags)
			if s.Name == "" {
				r.Add("name", "is missing")
			}
			if s.Name == "no-file" && files {
				r.Add("name", "has no file")
			}
			return r.Faults()
		},
		Run: run,
	}
}

func TestCommand(t *testing.T) {
	broken := Hint(errors.New("it broke"), "mend it")
	for name, tt := range map[string]struct {
		args, environ  []string
		run            error
		code           int
		stdout, stderr string // all of it, where it starts with =, else a part
	}{
		"runs":            {args: []string{"--name", "x", "--log-format", "text"}, stderr: "msg=starting command=testd"},
		"runs, from env":  {environ: []string{"SEAMARK_NAME=x", "SEAMARK_LOG_FORMAT=json"}, stderr: `"msg":"ended"`},
		"fails":           {args: []string{"--name", "x", "--log-level", "error"}, run: broken, code: 1, stderr: "=testd: it broke\ntestd: hint: mend it\n"},
		"faults":          {code: 2, stderr: "=name: is missing\n1 fault\n"},
		"check":           {args: []string{"check", "--name", "x"}, stdout: "=the configuration: no faults\n"},
		"check, faults":   {args: []string{"check"}, code: 2, stderr: "=name: is missing\n1 fault\n"},
		"check, files":    {args: []string{"check", "--name", "no-file"}, code: 2, stderr: "=--name: name: has no file\n1 fault\n"},
		"check, skipped":  {args: []string{"check", "--skip-files", "--name", "no-file"}, stdout: "=the configuration: no faults\n"},
		"no such file":    {args: []string{"check", "--config", "/none"}, code: 2, stderr: "=/none: can't be read: no such file or directory; name the configuration with --config FILE\n1 fault\n"},
		"config from env": {args: []string{"check"}, environ: []string{"SEAMARK_CONFIG=/none"}, code: 2, stderr: "/none: can't be read"},
		"unknown flag":    {args: []string{"--nmae", "x"}, code: 2, stderr: "=testd: unknown flag: --nmae\ntestd: hint: see testd --help\n"},
		"unknown command": {args: []string{"frob"}, code: 2, stderr: "=testd: unknown command \"frob\" for \"testd\"\ntestd: hint: see testd --help\n"},
		"argument":        {args: []string{"check", "x"}, code: 2, stderr: "testd: unknown command"},
		"log level":       {args: []string{"--name", "x", "--log-level", "loud"}, code: 2, stderr: `testd: log level "loud" is none of`},
		"version":         {args: []string{"--version"}, stdout: "testd devel"},
		"help":            {args: []string{"--help"}, stdout: "SEAMARK_NATS_CREDENTIALS"},
		"help, example":   {args: []string{"--help"}, stdout: "  testd --name x\n"},
		"completion":      {args: []string{"completion", "bash"}, stdout: "bash completion"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			command := NewCommand(daemon(func(context.Context, *Process) error { return tt.run }), tt.environ)
			code := Execute(t.Context(), command, tt.args, &stdout, &stderr)
			if code != tt.code || !matches(stdout.String(), tt.stdout) || !matches(stderr.String(), tt.stderr) {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s\nwant %d, %q, %q", code, stdout.String(), stderr.String(), tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}

func matches(got, want string) bool {
	if whole, ok := strings.CutPrefix(want, "="); ok {
		return got == whole
	}
	return strings.Contains(got, want)
}

func TestExitCodes(t *testing.T) {
	plain := errors.New("x")
	for _, tt := range []struct {
		err  error
		code int
	}{
		{nil, ExitOK},
		{plain, ExitFailure},
		{Hint(plain, "y"), ExitFailure},
		{Usage(plain), ExitUsage},
		{fmt.Errorf("z: %w", Hint(Usage(plain), "y")), ExitUsage},
		{Faults{{Detail: "x"}}, ExitUsage},
	} {
		if got := ExitCode(tt.err); got != tt.code {
			t.Errorf("ExitCode(%v) = %d, want %d", tt.err, got, tt.code)
		}
	}
	if Hint(nil, "x") != nil || Usage(nil) != nil {
		t.Error("no error became one")
	}
	for _, f := range []Faults{nil, {{Detail: "a"}}, {{Detail: "a"}, {Detail: "b"}}} {
		if f.Error() == "" {
			t.Errorf("%d faults say nothing", len(f))
		}
	}
}

// TestExecuteMarksEveryCommand holds usage faults of nested commands apart from failures.
func TestExecuteMarksEveryCommand(t *testing.T) {
	tree := func() *cobra.Command {
		root := Prepare(&cobra.Command{Use: "root"})
		child := &cobra.Command{Use: "child"}
		child.AddCommand(&cobra.Command{Use: "grandchild", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return errors.New("it broke") }})
		root.AddCommand(child)
		return root
	}
	var codes []int
	for _, args := range [][]string{{"child", "grandchild"}, {"child", "grandchild", "x"}, {"child", "grandchild", "x", "--y"}} {
		codes = append(codes, Execute(t.Context(), tree(), args, io.Discard, io.Discard))
	}
	if want := []int{ExitUsage, ExitFailure, ExitUsage}; !slices.Equal(codes, want) {
		t.Errorf("exit codes %v, want %v", codes, want)
	}
}
