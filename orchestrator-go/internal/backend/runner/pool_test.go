package runner_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/backend/runner"
	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
	"dspyagent.io/orchestrator/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func start(t *testing.T, token string, targets ...string) *runner.Pool {
	return startWith(t, runner.Options{Targets: targets, Token: token})
}

// startWith fills what opt leaves out: checks that fail only for a reason, however slow the machine is.
func startWith(t *testing.T, opt runner.Options) *runner.Pool {
	opt.CheckInterval, opt.MaxIdlePerHost = 20*time.Millisecond, 16
	opt.CheckTimeout = cmp.Or(opt.CheckTimeout, time.Minute)
	opt.ResolveEvery = cmp.Or(opt.ResolveEvery, time.Second)
	pool, err := runner.NewPool(opt, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { pool.Watch(ctx) })
	t.Cleanup(func() { cancel(); watch.Wait() })
	return pool
}

func attempt(id string, argv ...string) backend.Attempt {
	return backend.Attempt{
		Number: 1, Token: 7, Started: func(string) {},
		Task: queue.Task{ID: id, Traceparent: trace, Spec: queue.Spec{Argv: argv, Noop: len(argv) == 0, TimeoutMS: 10_000, OutputLimitBytes: 1 << 16}},
	}
}

// begun is a with something to do when it starts.
func begun(a backend.Attempt, do func()) backend.Attempt {
	a.Started = func(string) { do() }
	return a
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestFakeRunner(t *testing.T) {
	backendtest.Run(t, start(t, fakerunner.Token, fakerunner.Start(t, 4).URL))
}

func TestEnvRunner(t *testing.T) {
	backendtest.Run(t, start(t, fakerunner.Token, backendtest.StartEnvRunner(t, fakerunner.Token)))
}

func TestTraceIdAndFencingTokenReachTheRunner(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	ctx, span := telemetry.BeginAttempt(bounded(t), trace, "the-task", 1, 7)
	defer span.End()
	if _, err := start(t, fakerunner.Token, fake.URL).Run(ctx, attempt("the-task", "/bin/true")); err != nil {
		t.Fatal(err)
	}
	got := fake.Headers()[0]
	parent := got.Get("Traceparent")
	if got.Get("X-Request-Id") != "the-task" || got.Get("X-Fencing-Token") != "7" || !strings.HasPrefix(parent, trace[:36]) || parent == trace {
		t.Errorf("headers %v; want the trace continued with a span of its own", got)
	}
}

func TestFullRunnerCostsNoAttempt(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	fake.Script(fakerunner.Answer{Status: 429, RetryAfter: "0.02"}, fakerunner.Answer{Status: 429})
	if _, err := start(t, fakerunner.Token, fake.URL).Run(bounded(t), attempt("t")); err != nil {
		t.Errorf("after two 429: %v", err)
	}
}

func TestFaultsOfTheInfrastructure(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	pool := start(t, fakerunner.Token, fake.URL)
	for code, answer := range map[string]fakerunner.Answer{
		"RunnerLost": {Drop: true}, "RunnerFault": {Status: http.StatusInternalServerError},
	} {
		fake.Script(answer)
		_, err := pool.Run(bounded(t), attempt("t", "/bin/true"))
		var fault *backend.Fault
		if !errors.As(err, &fault) || fault.Code != code {
			t.Errorf("%+v: got %v, want %s", answer, err, code)
		}
	}
}

func TestARunnersSentenceIsBounded(t *testing.T) {
	pool := start(t, fakerunner.Token, fakerunner.Start(t, 4).URL)
	_, err := pool.Run(bounded(t), attempt("t", "é"+strings.Repeat("–", 100_000)))
	var rejected *backend.Rejected
	if !errors.As(err, &rejected) || len(rejected.Message) > 1024 || len(rejected.Message) < 1000 || !utf8.ValidString(rejected.Message) {
		t.Errorf("got %.2000v", err)
	}
}

func TestTasksWaitForARunner(t *testing.T) {
	pool := start(t, "wrong token", fakerunner.Start(t, 4).URL)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := pool.Run(ctx, begun(attempt("t"), func() { t.Error("started") })); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestLimitOfEachRunnerHolds(t *testing.T) {
	a, b := fakerunner.Start(t, 2), fakerunner.Start(t, 3)
	pool := start(t, fakerunner.Token, a.URL, b.URL)
	queuetest.Eventually(t, 10*time.Second, "both are healthy", func() bool { n, _ := pool.Healthy(); return n == 2 })
	ctx, cancel := context.WithCancel(bounded(t))
	var runs sync.WaitGroup
	for range 8 {
		runs.Go(func() { _, _ = pool.Run(ctx, attempt("t", "/bin/sleep", "60")) }) // ends cancelled
	}
	for range 2 {
		<-a.Admitted()
	}
	for range 3 {
		<-b.Admitted()
	}
	cancel()
	runs.Wait()
	if n := a.Runs()["t"] + b.Runs()["t"]; n != 5 {
		t.Errorf("%d requests admitted, want 5", n)
	}
}

// sleeper is a task that does not end by itself.
func sleeper() backend.Attempt { return attempt("sleeper", "/bin/sleep", "60") }

func lost(err error) bool {
	var fault *backend.Fault
	return errors.As(err, &fault) && fault.Code == "RunnerLost"
}

func TestLostRunnerEndsItsRequests(t *testing.T) {
	for name, fail := range map[string]func(*fakerunner.Runner){
		"failing": (*fakerunner.Runner).Hang, "silent": (*fakerunner.Runner).Silence,
	} {
		t.Run(name, func(t *testing.T) {
			fake := fakerunner.Start(t, 4)
			pool := startWith(t, runner.Options{
				Targets: []string{fake.URL}, Token: fakerunner.Token, CheckTimeout: 500 * time.Millisecond,
			})
			ctx := bounded(t)
			if _, err := pool.Run(ctx, begun(sleeper(), func() { go fail(fake) })); !lost(err) || ctx.Err() != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSilentRunnerDelaysNoOthersChecks has one runner that answers no check, which takes a minute to fail.
func TestSilentRunnerDelaysNoOthersChecks(t *testing.T) {
	silent, late := fakerunner.Start(t, 4), fakerunner.Start(t, 4)
	silent.Silence()
	late.Hang()
	pool := start(t, fakerunner.Token, silent.URL, late.URL)
	queuetest.Eventually(t, 10*time.Second, "both were asked", func() bool { return late.Checks() > 0 && silent.Checks() > 0 })
	late.Recover()
	if _, err := pool.Run(bounded(t), attempt("t")); err != nil {
		t.Error(err)
	}
}

// names is a resolver whose answer tests change.
type names struct{ addresses atomic.Pointer[[]string] }

func (n *names) set(addresses ...string) { n.addresses.Store(&addresses) }

func (n *names) lookup(context.Context, string) ([]string, error) { return *n.addresses.Load(), nil }

// byName starts a pool that finds fake by a name.
func byName(t *testing.T, fake *fakerunner.Runner, timeout time.Duration) (*runner.Pool, *names) {
	n := &names{}
	n.set("127.0.0.1")
	return startWith(t, runner.Options{
		Targets: []string{"dns+" + strings.Replace(fake.URL, "127.0.0.1", "runners", 1)}, Token: fakerunner.Token,
		Lookup: n.lookup, ResolveEvery: 20 * time.Millisecond, CheckTimeout: timeout,
	}), n
}

// TestVanishedRunnerEndsItsRequests loses a node: first its address leaves the name, then it goes silent.
func TestVanishedRunnerEndsItsRequests(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	pool, n := byName(t, fake, 500*time.Millisecond)
	ctx, result := bounded(t), make(chan error, 1)
	go func() {
		_, err := pool.Run(ctx, sleeper())
		result <- err
	}()
	<-fake.Admitted()
	leave(t, pool, n)
	fake.Silence()
	if err := <-result; !lost(err) || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
}

// leave takes every address from the name and returns when the pool knows.
func leave(t *testing.T, pool *runner.Pool, n *names) {
	t.Helper()
	n.set()
	queuetest.Eventually(t, 10*time.Second, "the runner is gone", func() bool { _, known := pool.Healthy(); return known == 0 })
}

// TestGoneRunnerEndsWhatItRuns has a runner leave its name while it works, as a terminating pod does.
func TestGoneRunnerEndsWhatItRuns(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	pool, n := byName(t, fake, 0)
	result := make(chan error, 1)
	go func() {
		_, err := pool.Run(bounded(t), attempt("long", "/bin/sleep", "1"))
		result <- err
	}()
	<-fake.Admitted()
	leave(t, pool, n)
	ctx, cancel := context.WithCancel(bounded(t))
	next := make(chan error, 1)
	go func() {
		_, err := pool.Run(ctx, begun(attempt("next"), func() { t.Error("a runner that is gone was given a task") }))
		next <- err
	}()
	if err := <-result; err != nil {
		t.Errorf("what ran already: %v", err)
	}
	cancel()
	if err := <-next; !errors.Is(err, context.Canceled) {
		t.Errorf("what came later: %v", err)
	}
	n.set("127.0.0.1")
	if _, err := pool.Run(bounded(t), attempt("again")); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestNamesAreLookedUp(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	pool := start(t, fakerunner.Token, "dns+"+strings.Replace(fake.URL, "127.0.0.1", "localhost", 1))
	if _, err := pool.Run(bounded(t), attempt("t")); err != nil {
		t.Error(err)
	}
}

func TestDurationsHaveDefaults(t *testing.T) {
	fake := fakerunner.Start(t, 4)
	pool, err := runner.NewPool(runner.Options{
		Targets: []string{"dns+" + strings.Replace(fake.URL, "127.0.0.1", "localhost", 1)}, Token: fakerunner.Token,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { pool.Watch(ctx) })
	if _, err := pool.Run(bounded(t), attempt("t")); err != nil {
		t.Error(err)
	}
	cancel()
	watch.Wait()
}

func TestTargetsAreChecked(t *testing.T) {
	for _, target := range []string{"", "runner:8080", "ftp://runner", "http://", "dns+http://runner", "http://u:p@runner:1"} {
		if _, err := runner.NewPool(runner.Options{Targets: []string{target}}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%q was accepted", target)
		}
	}
}
