package proc

import (
	"errors"
	"fmt"
	"io"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

// The exit codes of every command.
const (
	ExitOK      = 0
	ExitFailure = 1 // it failed while it ran
	ExitUsage   = 2 // the command line or the configuration is wrong
)

// Hinted is an error with a sentence for the operator: what to do next.
type Hinted struct {
	Err  error
	Hint string
}

// Error returns the error without the hint.
func (h *Hinted) Error() string { return h.Err.Error() }

// Unwrap returns the error itself.
func (h *Hinted) Unwrap() error { return h.Err }

// Hint adds to err what to do next; nil stays nil.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Hinted{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// usageError marks what is wrong with the command line.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

// Usage marks err as a fault of the command line; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// exitError is an error with an exit code of its own.
type exitError struct {
	err  error
	code int
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Exit makes err end the command with an exit code of its own, which the command
// documents; nil stays nil.
func Exit(err error, code int) error {
	if err == nil {
		return nil
	}
	return &exitError{err, code}
}

// Faults is the error of a configuration with faults.
type Faults []config.Fault

// Error counts the faults and gives the first one.
func (f Faults) Error() string {
	if len(f) == 0 {
		return "the configuration has no fault"
	}
	if len(f) == 1 {
		return "the configuration has a fault: " + f[0].String()
	}
	return fmt.Sprintf("the configuration has %d faults, the first: %s", len(f), f[0])
}

// ExitCode returns the exit code that belongs to err.
func ExitCode(err error) int {
	var faults Faults
	var usage *usageError
	var own *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &faults), errors.As(err, &usage):
		return ExitUsage
	}
	return ExitFailure
}

// Complain writes err for the operator of the named command, with the hint it
// carries and every fault of a configuration on a line of its own. It writes
// nothing when err is nil.
func Complain(w io.Writer, command string, err error) {
	if err == nil {
		return
	}
	var faults Faults
	var hinted *Hinted
	var usage *usageError
	switch {
	case errors.As(err, &faults):
		writeFaults(w, faults)
	default:
		fmt.Fprintf(w, "%s: %v\n", command, err)
	}
	switch {
	case errors.As(err, &hinted):
		fmt.Fprintf(w, "%s: hint: %s\n", command, hinted.Hint)
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: hint: see %[1]s --help\n", command)
	}
}

func writeFaults(w io.Writer, faults Faults) {
	for _, f := range faults {
		fmt.Fprintln(w, f)
	}
	word := "faults"
	if len(faults) == 1 {
		word = "fault"
	}
	fmt.Fprintf(w, "%d %s\n", len(faults), word)
}
