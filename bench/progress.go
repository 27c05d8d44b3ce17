package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells on standard error what is being done, with the time since the
// start. Its methods may be called by several goroutines.
type progress struct {
	began time.Time

	mu  sync.Mutex // guards out
	out io.Writer
}

func newProgress(out io.Writer) *progress { return &progress{began: time.Now(), out: out} }

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%6.1fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}
