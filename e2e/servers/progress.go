package servers

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progressEvery is how often a line says that the work goes on.
const progressEvery = 10 * time.Second

// progress tells a waiting person what is being done and for how long already. What takes less than a moment is not
// told: a step is first mentioned after a second, or when the next one begins.
type progress struct {
	out   io.Writer
	name  string
	stop  chan struct{}
	ended sync.WaitGroup

	mu    sync.Mutex // guards following
	step  string
	since time.Time
}

// newProgress starts telling; done ends it.
func newProgress(out io.Writer, name string) *progress {
	p := &progress{out: out, name: name, stop: make(chan struct{}), since: time.Now()}
	p.ended.Go(p.tell)
	return p
}

// say names the step that begins now.
func (p *progress) say(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = step
}

// done ends the telling. It says so if there was anything to tell.
func (p *progress) done() {
	close(p.stop)
	p.ended.Wait()
}

func (p *progress) tell() {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	told := ""
	for {
		select {
		case <-timer.C:
		case <-p.stop:
			if told != "" {
				p.line()
			}
			return
		}
		told = p.line()
		timer.Reset(progressEvery)
	}
}

// line prints the current step, and returns it.
func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "seamark: %s: %s (%v)\n", p.name, p.step, time.Since(p.since).Round(time.Second))
	return p.step
}
