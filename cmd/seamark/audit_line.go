package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// statusLine is a line on a terminal that is overwritten. On anything else it is
// nothing. Any goroutine may use it.
type statusLine struct {
	out      io.Writer
	terminal bool

	mu   sync.Mutex // guards what follows
	text string
	at   time.Time
}

func newStatusLine(out io.Writer) *statusLine {
	file, ok := out.(*os.File)
	if ok {
		info, err := file.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &statusLine{out: out, terminal: ok}
}

// show writes the line anew, ten times a second at most.
func (l *statusLine) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.terminal || time.Since(l.at) < 100*time.Millisecond {
		return
	}
	l.write(text)
	l.at = time.Now()
}

func (l *statusLine) write(text string) {
	fmt.Fprintf(l.out, "\r%s%s", text, strings.Repeat(" ", max(0, len(l.text)-len(text))))
	l.text = text
}

// clear takes the line away.
func (l *statusLine) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terminal && l.text != "" {
		l.write("")
		fmt.Fprint(l.out, "\r")
	}
}
