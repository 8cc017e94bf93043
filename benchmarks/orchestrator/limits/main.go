// Holds the orchestrator's adaptive limit beside failsafe-go's and the best fixed limits, on
// simulated servers whose capacity steps, and prints tables in Markdown.
//
//	go run . [-seeds 5] [-phase 60s] [-only exponential]
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// settings are the flags.
type settings struct {
	seeds   int
	phase   time.Duration
	only    string
	ours    bool
	initial int
	trace   bool
}

func main() {
	testing.Init() // only a test has synctest's bubbles, in which time is simulated
	var s settings
	flag.IntVar(&s.seeds, "seeds", 5, "runs of each limiter on each server")
	flag.DurationVar(&s.phase, "phase", time.Minute, "simulated time between two steps")
	flag.StringVar(&s.only, "only", "", "part of the names of the servers to run; empty: all")
	flag.BoolVar(&s.ours, "ours", false, "leave the others out")
	flag.IntVar(&s.initial, "initial", 0, "the limit at first; 0: the best fixed one of the first phase")
	flag.BoolVar(&s.trace, "trace", false, "print the limits of each run to standard error, one a second")
	flag.Parse()
	out := os.Stdout
	os.Stdout = os.Stderr // testing's own words are not results
	all := func(string, string) (bool, error) { return true, nil }
	testing.Main(all, []testing.InternalTest{{Name: "limits", F: func(t *testing.T) {
		if err := run(t, out, s); err != nil {
			t.Fatal("benchmark:", err)
		}
	}}}, nil, nil)
}

func run(t *testing.T, out io.Writer, s settings) error {
	if s.seeds < 1 || s.phase < 10*time.Second {
		return errors.New("-seeds must be at least 1, -phase at least 10s")
	}
	var results []result
	for _, c := range cases() {
		if strings.Contains(c.name, s.only) {
			results = append(results, c.run(t, s))
			fmt.Fprintln(os.Stderr, c.name)
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("no server is called %q", s.only)
	}
	printTables(out, s, results)
	return nil
}
