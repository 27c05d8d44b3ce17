package sim

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	seedFlag   = flag.Uint64("sim.seed", 0, "the only seed to run, until it fails or was tried often enough")
	triesFlag  = flag.Int("sim.tries", 20, "how often that seed is tried")
	firstFlag  = flag.Uint64("sim.first", 1, "the first seed to run")
	countFlag  = flag.Int("sim.count", 0, "how many seeds to run; 0: 2,000, fewer with the race detector or -short")
	forFlag    = flag.Duration("sim.for", 0, "run seeds nobody has run for so long, instead of a number of them")
	stepsFlag  = flag.Int("sim.steps", 500, "steps of each seed")
	loudFlag   = flag.Bool("sim.loud", false, "print every line of the trace and of the logs")
	failsFlag  = flag.Int("sim.maxfail", 10, "after how many failures to end")
	onlyFlag   = flag.Int("sim.only", 0, "look at one invariant alone, by its number")
	workerFlag = flag.Bool("sim.worker", false, "this process runs seeds for another one")
)

// TestWorker runs seeds one after the other, in a process of its own with one processor:
// so a panic is known to be of the seed that was begun last, and as little as possible
// depends on which goroutine is faster.
func TestWorker(t *testing.T) {
	if !*workerFlag {
		return
	}
	for n := range *countFlag {
		seed := *firstFlag + uint64(n)
		fmt.Println(marker, "begin", seed)
		out := live(t, seed, *stepsFlag)
		fmt.Println(marker, "end", seed, out.sum, out.operations, out.lived.Milliseconds(), strconv.Quote(out.failure()))
	}
}

// marker begins what a worker says to the process that runs it.
const marker = "sim:"

// result is what a worker tells of a seed.
type result struct {
	seed       uint64
	sum        uint64
	operations int
	lived      time.Duration
	failure    string // "" when it lived well
}

// work runs some seeds in a worker, and calls f for each.
func work(t *testing.T, first uint64, count int, f func(result)) {
	for end := first + uint64(count); first < end; {
		last := run(t, first, int(end-first), f)
		first = last + 1
	}
}

// transcript gathers what a worker says on both of its outputs.
type transcript struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *transcript) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Reset()
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// longestLife is how long a seed may take, by the real clock: a hundred times what it does
// on a machine that is busy.
const longestLife = 5 * time.Minute

// run is one worker's life. It returns the last seed that it has begun.
func run(t *testing.T, first uint64, count int, f func(result)) (last uint64) {
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorker$", "-test.timeout=0", "-sim.worker",
		fmt.Sprint("-sim.first=", first), fmt.Sprint("-sim.count=", count), fmt.Sprint("-sim.steps=", *stepsFlag), fmt.Sprint("-sim.loud=", *loudFlag), fmt.Sprint("-sim.only=", *onlyFlag))
	command.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC="+cmp.Or(os.Getenv("GOGC"), "400"))
	var said transcript
	command.Stderr = &said
	if *loudFlag {
		command.Stderr = io.MultiWriter(&said, os.Stderr)
	}
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	last, done := first, false
	stuck := time.AfterFunc(longestLife, func() {
		_ = command.Process.Signal(syscall.SIGQUIT) // it tells where it is, and ends
	})
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		text, ours := strings.CutPrefix(lines.Text(), marker+" ")
		if !ours {
			fmt.Fprintln(&said, lines.Text())
			continue
		}
		r := result{}
		var lived int64
		if n, _ := fmt.Sscanf(text, "begin %d", &last); n == 1 {
			done = false
			said.Reset()
			stuck.Reset(longestLife)
			continue
		}
		if _, err := fmt.Sscanf(text, "end %d %d %d %d %q", &r.seed, &r.sum, &r.operations, &lived, &r.failure); err != nil {
			t.Fatalf("a worker says %q: %v", text, err)
		}
		r.lived, done = time.Duration(lived)*time.Millisecond, true
		f(r)
	}
	if err := command.Wait(); !done && t.Context().Err() == nil {
		f(result{seed: last, failure: fmt.Sprintf("seed %d, invariant %v: the process ended (%v)\n%s\nreplay: go test ./sim -run '^TestSeeds$' -sim.seed=%d -sim.steps=%d\n",
			last, flow, err, tailOf(said.String()), last, *stepsFlag)})
	}
	return last
}

// tailOf returns what is worth reading of what a process said in the end.
func tailOf(s string) string {
	for _, begin := range []string{"panic:", "SIGQUIT:"} {
		if at := strings.Index(s, begin); at >= 0 {
			s = s[at:]
			break
		}
	}
	return s[:min(len(s), 8000)]
}

// seedsPerWorker bounds what a worker's process does.
const seedsPerWorker = 25

// TestSeeds runs seeds on all processors. Each failure says how it is seen again.
func TestSeeds(t *testing.T) {
	if *seedFlag > 0 {
		for n := range *triesFlag {
			again := false
			work(t, *seedFlag, 1, func(r result) {
				if again = r.failure == ""; !again {
					t.Errorf("at the %d. time: %s", n+1, r.failure)
				}
			})
			if !again {
				return
			}
		}
		return
	}
	first, count := *firstFlag, *countFlag
	switch {
	case *forFlag > 0:
		first, count = uint64(time.Now().UnixMilli()), 1<<30
	case count == 0 && testing.Short():
		count = 20
	case count == 0 && raceDetector:
		count = 30
	case count == 0:
		count = 2000
	}
	began := time.Now()
	var mu sync.Mutex // guards what follows
	total, seeds, failures, next := result{}, 0, 0, first
	take := func() (from uint64, some int) {
		mu.Lock()
		defer mu.Unlock()
		some = min(seedsPerWorker, count-int(next-first))
		if *forFlag > 0 && time.Since(began) > *forFlag || failures >= *failsFlag {
			some = 0
		}
		from, next = next, next+uint64(some)
		return from, some
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for from, some := take(); some > 0; from, some = take() {
				work(t, from, some, func(r result) {
					mu.Lock()
					defer mu.Unlock()
					seeds++
					total.operations += r.operations
					total.lived += r.lived
					if r.failure != "" {
						failures++
						t.Error(r.failure)
					}
				})
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds from %d on, %d steps each: %d operations in %v of simulated time, in %v", seeds, first, *stepsFlag, total.operations,
		total.lived.Round(time.Minute), time.Since(began).Round(100*time.Millisecond))
}

// TestSeedsThatFailedOnce runs the seeds in testdata/seeds: each has found something.
func TestSeedsThatFailedOnce(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "seeds"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		number, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number == "" || number == "#" {
			continue
		}
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds: %q begins with no seed", line)
		}
		work(t, seed, 1, func(r result) {
			if r.failure != "" {
				t.Error(r.failure)
			}
		})
	}
}

// TestASeedReplays runs seeds twice and compares all that happened. What the scheduler
// does not decide is which of several ready cases a select of the real code takes, so
// a seed might take another turn once in a while (docs/simulation.md); the race detector
// shuffles goroutines on purpose.
func TestASeedReplays(t *testing.T) {
	if *forFlag > 0 || *seedFlag > 0 {
		t.Skip("other seeds are wanted")
	}
	const seeds = 20
	least := 18
	if raceDetector {
		least = 10
	}
	sums := map[uint64]uint64{}
	work(t, 1, seeds, func(r result) { sums[r.seed] = r.sum })
	same := 0
	work(t, 1, seeds, func(r result) {
		if sums[r.seed] == r.sum {
			same++
		}
	})
	t.Logf("%d of %d seeds did exactly the same again", same, seeds)
	if same < least {
		t.Errorf("only %d of %d seeds did the same again", same, seeds)
	}
}
