package slurm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

// BenchmarkSlurm measures what the backend adds to Slurm: submission beside a bare sbatch or the bare REST call, and
// how long after a job's end the result is there. `go test -run ^$ -bench Slurm -benchtime 100x`.
func BenchmarkSlurm(b *testing.B) {
	c := slurmtest.Start(b)
	url, user, err := c.REST()
	if err != nil {
		b.Fatal(err)
	}
	for name, made := range map[string]*Backend{"cli": overCLI(b, c), "rest": overREST(b, c, url, user)} {
		b.Run(name+"/bare-submit", func(b *testing.B) { benchmarkBare(b, made) })
		b.Run(name+"/submit", func(b *testing.B) { benchmarkSubmit(b, made) })
		b.Run(name+"/submit-again", func(b *testing.B) { benchmarkAttach(b, made) })
		b.Run(name+"/seen", func(b *testing.B) { benchmarkSeen(b, made, 0) })
		b.Run(name+"/seen-of-200", func(b *testing.B) { benchmarkSeen(b, made, 200) })
	}
}

// held is a job that never starts, so that nothing but its submission is measured.
func held() queue.Spec {
	return queue.Spec{Argv: []string{"/bin/true"}, TimeoutMS: 1000, Slurm: &queue.Slurm{Partition: "idle"}}
}

func planned(b *testing.B, made *Backend) plan {
	p, err := made.plan(backend.Attempt{Task: taskOf(held()), Number: 1, Token: 1})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*p/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
}

func benchmarkBare(b *testing.B, made *Backend) {
	var took []time.Duration
	for range b.N {
		p := planned(b, made)
		p.stdout, p.stderr = "/dev/null", "/dev/null"
		begun := time.Now()
		id, err := made.control.submit(b.Context(), p.submission)
		took = append(took, time.Since(begun))
		if err != nil {
			b.Fatal(err)
		}
		_ = made.control.cancel(b.Context(), id)
	}
	percentiles(b, took)
}

func benchmarkSubmit(b *testing.B, made *Backend) {
	var took []time.Duration
	for range b.N {
		begun := time.Now()
		p := planned(b, made)
		fresh, err := made.prepare(p)
		if err != nil || !fresh {
			b.Fatal(fresh, err)
		}
		f, err := made.ensure(b.Context(), p, fresh)
		took = append(took, time.Since(begun))
		if err != nil {
			b.Fatal(err)
		}
		_ = made.control.cancel(b.Context(), f.id)
	}
	percentiles(b, took)
}

func benchmarkAttach(b *testing.B, made *Backend) {
	p := planned(b, made)
	if _, err := made.prepare(p); err != nil {
		b.Fatal(err)
	}
	f, err := made.ensure(b.Context(), p, true)
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for range b.N {
		begun := time.Now()
		if again, err := made.ensure(b.Context(), p, false); err != nil || again.id != f.id {
			b.Fatal(again, err)
		}
		took = append(took, time.Since(begun))
	}
	_ = made.control.cancel(b.Context(), f.id)
	percentiles(b, took)
}

// benchmarkSeen compares the last thing that a command does, to write down the time, with when Run returned.
func benchmarkSeen(b *testing.B, made *Backend, others int) {
	var waiting []*underway
	for range others {
		u := begin(b, made, taskOf(held()))
		waiting = append(waiting, u)
	}
	var took []time.Duration
	for i := range b.N {
		// The pause is uneven, so that ends fall everywhere between two polls.
		task := taskOf(queue.Spec{Argv: sh(fmt.Sprintf("sleep 0.%03d; date +%%s%%N", 100+i*37%100))})
		result, err := made.Run(b.Context(), backend.Attempt{Task: task, Number: 1, Started: func(string) {}})
		now := time.Now()
		if err != nil {
			b.Fatal(err)
		}
		nanos, err := strconv.ParseInt(strings.TrimSpace(result.Stdout), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, now.Sub(time.Unix(0, nanos)))
	}
	percentiles(b, took)
	for _, u := range waiting {
		u.cancel(backend.ErrCancelled)
		<-u.over
	}
}
