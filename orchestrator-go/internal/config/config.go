// Package config reads the orchestrator's settings: flags, then the environment, then defaults.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// minQueued lets the largest batch of the API into an empty queue.
const minQueued = 1000

// Config are the settings of `orchestrator serve`.
type Config struct {
	Listen, Pprof                           string
	RedDB, RedDBTokenFile, KeyPrefix        string
	Runners, RunnerTokenFile                string
	TokenFile, LogLevel                     string
	Workers, MaxQueued                      int
	Lease, ResultTTL, DeadTTL, DrainTimeout time.Duration
	RunnerLostAfter                         time.Duration
	RedDBToken, RunnerToken, Token          string
	RunnerTargets                           []string
}

// Parse reads args and the environment and checks both; every error names the setting.
// Errors: flag.ErrHelp after usage was printed to out.
func Parse(args []string, getenv func(string) string, out io.Writer) (*Config, error) {
	c := &Config{}
	flags := flag.NewFlagSet("orchestrator serve", flag.ContinueOnError)
	flags.SetOutput(out)
	c.define(flags)
	if err := fromEnvironment(flags, getenv); err != nil {
		return nil, err
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; settings are flags or environment variables", flags.Arg(0))
	}
	return c, c.check()
}

func (c *Config) define(f *flag.FlagSet) {
	f.StringVar(&c.Listen, "listen", ":9097", "address of the API, probes and metrics")
	f.StringVar(&c.RedDB, "reddb", "", "URL of the store, redis://host:6380 (required)")
	f.StringVar(&c.RedDBTokenFile, "reddb-token-file", "", "file with the store's token; empty for a store without one")
	f.StringVar(&c.KeyPrefix, "key-prefix", "orchestrator/", "of every key in the store")
	f.StringVar(&c.Runners, "runners", "", "env runners: comma-separated http://host:port or dns+http://name:port (required)")
	f.StringVar(&c.RunnerTokenFile, "runner-token-file", "", "file with the env runners' token (required)")
	f.DurationVar(&c.RunnerLostAfter, "runner-lost-after", 5*time.Second, "without an answer to health checks, until a runner's tasks are tried elsewhere")
	f.StringVar(&c.TokenFile, "token-file", "", "file with the token that clients send (required)")
	f.IntVar(&c.Workers, "workers", 128, "attempts at once")
	f.IntVar(&c.MaxQueued, "max-queued", 100_000, "tasks that may be there without having ended; more are refused with 429")
	f.DurationVar(&c.Lease, "lease", 1200*time.Millisecond, "after which a silent leader is replaced")
	f.DurationVar(&c.ResultTTL, "result-ttl", time.Hour, "how long a finished task can be read")
	f.DurationVar(&c.DeadTTL, "dead-ttl", 7*24*time.Hour, "how long a dead letter is kept")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", 20*time.Second, "for running tasks at SIGTERM, before they are handed back")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.Pprof, "pprof", "", "address for profiles, such as 127.0.0.1:6060; empty for none")
}

// envName is the variable of a flag: --reddb-token-file is ORCHESTRATOR_REDDB_TOKEN_FILE.
func envName(name string) string {
	return "ORCHESTRATOR_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func fromEnvironment(flags *flag.FlagSet, getenv func(string) string) error {
	var errs []error
	flags.VisitAll(func(f *flag.Flag) {
		f.Usage += " [$" + envName(f.Name) + "]"
		value := getenv(envName(f.Name))
		if value == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("$%s: %w", envName(f.Name), err))
		}
	})
	return errors.Join(errs...)
}

func (c *Config) check() error {
	for name, value := range map[string]string{
		"reddb": c.RedDB, "runners": c.Runners, "runner-token-file": c.RunnerTokenFile, "token-file": c.TokenFile,
	} {
		if value == "" {
			return fmt.Errorf("--%s (or $%s) is required", name, envName(name))
		}
	}
	if c.Workers < 1 || c.Workers > 10_000 {
		return fmt.Errorf("--workers is %d; want 1 to 10000", c.Workers)
	}
	if c.MaxQueued < minQueued {
		return fmt.Errorf("--max-queued is %d; want at least %d, the largest batch", c.MaxQueued, minQueued)
	}
	for name, d := range map[string]time.Duration{"result-ttl": c.ResultTTL, "dead-ttl": c.DeadTTL} {
		if d < time.Second {
			return fmt.Errorf("--%s is %v; want at least 1s", name, d)
		}
	}
	if c.Lease < 100*time.Millisecond {
		return fmt.Errorf("--lease is %v; want at least 100ms", c.Lease)
	}
	if c.RunnerLostAfter < time.Second {
		return fmt.Errorf("--runner-lost-after is %v; want at least 1s", c.RunnerLostAfter)
	}
	if c.DrainTimeout < 0 {
		return fmt.Errorf("--drain-timeout is %v; want 0s or more", c.DrainTimeout)
	}
	for _, item := range strings.Split(c.Runners, ",") {
		c.RunnerTargets = append(c.RunnerTargets, strings.TrimSpace(item))
	}
	return c.readTokens()
}

func (c *Config) readTokens() error {
	for _, t := range []struct {
		flag, path string
		into       *string
	}{
		{"reddb-token-file", c.RedDBTokenFile, &c.RedDBToken},
		{"runner-token-file", c.RunnerTokenFile, &c.RunnerToken},
		{"token-file", c.TokenFile, &c.Token},
	} {
		if t.path == "" {
			continue
		}
		text, err := os.ReadFile(t.path)
		if err != nil {
			return fmt.Errorf("--%s: %w", t.flag, err)
		}
		if *t.into = strings.TrimSpace(string(text)); *t.into == "" {
			return fmt.Errorf("--%s: %s is empty; put a token in it", t.flag, t.path)
		}
	}
	return nil
}
