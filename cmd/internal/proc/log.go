package proc

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// LogOptions says how to log.
type LogOptions struct {
	Level  string `yaml:"level" default:"info" help:"least severity that is logged: debug, info, warn or error"`
	Format string `yaml:"format" default:"auto" help:"text or json; auto: text on a terminal, json elsewhere"`
}

// NewLogger returns a logger that writes to w, as the options say. The error
// names the option that is wrong.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	var level slog.Level
	switch o.Level {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("log level %.64q is none of debug, info, warn, error", o.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch {
	case o.Format == "json" || o.Format == "auto" && !isTerminal(w):
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case o.Format == "text" || o.Format == "auto":
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %.64q is none of auto, text, json", o.Format)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
