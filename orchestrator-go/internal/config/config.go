// Package config reads the orchestrator's settings: flags, then the environment, then defaults.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// minQueued lets the largest batch of the API into an empty queue.
const minQueued = 10_000

// Config are the settings of `orchestrator serve`.
type Config struct {
	Listen, Pprof, LogLevel                 string
	RedDB, RedDBTokenFile, KeyPrefix, Blobs string
	Runners, RunnerTokenFile                string
	TokenFile, TokensFile, Audiences        string
	Limiter                                 string
	Workers, MaxQueued                      int
	Lease, ResultTTL, DeadTTL, DrainTimeout time.Duration
	RunnerLostAfter                         time.Duration
	Slurm                                   Slurm

	RedDBToken, RunnerToken            string // read from their files
	RunnerTargets, KubernetesAudiences []string
}

// Slurm are the settings of the backend "slurm".
type Slurm struct {
	API             string // "cli", or slurmrestd's URL; empty for no such backend
	User, TokenFile string
	Conf, Spool     string
	SpoolMode       string // octal
	MaxJobs         int
	Tenants         []string // that may use it; empty for all
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
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.Pprof, "pprof", "", "address for profiles, such as 127.0.0.1:6060; empty for none")
	c.defineStore(f)
	c.defineRunners(f)
	c.defineSlurm(f)
	f.StringVar(&c.TokenFile, "token-file", "", "file with the token of administrators")
	f.StringVar(&c.TokensFile, "tokens-file", "", "file with lines of token, name, tenant and perhaps admin; read again when it changes")
	f.StringVar(&c.Audiences, "kubernetes-audiences", "", "comma-separated audiences of the Kubernetes tokens that are taken; empty for none")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", 20*time.Second, "for running tasks at SIGTERM, before they are handed back")
}

func (c *Config) defineStore(f *flag.FlagSet) {
	f.StringVar(&c.RedDB, "reddb", "", "URL of the store, redis://host:6380 (required)")
	f.StringVar(&c.RedDBTokenFile, "reddb-token-file", "", "file with the store's token; empty for a store without one")
	f.StringVar(&c.Blobs, "blobs", "", "URL of RedDB's HTTP interface, http://host:8082, for tasks' workspaces; empty for none")
	f.StringVar(&c.KeyPrefix, "key-prefix", "orchestrator/", "of every key in the store")
	f.IntVar(&c.MaxQueued, "max-queued", 100_000, "tasks that may be there without having ended; more are refused with 429")
	f.DurationVar(&c.Lease, "lease", 1200*time.Millisecond, "after which a silent leader is replaced")
	f.DurationVar(&c.ResultTTL, "result-ttl", time.Hour, "how long a finished task can be read")
	f.DurationVar(&c.DeadTTL, "dead-ttl", 7*24*time.Hour, "how long a dead letter is kept")
}

func (c *Config) defineRunners(f *flag.FlagSet) {
	f.StringVar(&c.Runners, "runners", "", "env runners, comma-separated: http://host:port, dns+http://name:port or "+
		"endpointslices+http://namespace?service=name&port=http (required)")
	f.StringVar(&c.RunnerTokenFile, "runner-token-file", "", "file with the env runners' token (required)")
	f.DurationVar(&c.RunnerLostAfter, "runner-lost-after", 5*time.Second, "without an answer to health checks, until a runner's tasks are tried elsewhere")
	f.IntVar(&c.Workers, "workers", 128, "attempts at once on runners, at most")
	f.StringVar(&c.Limiter, "limiter", "vegas", "how the limit of attempts at once is found: vegas, failsafe, or fixed at --workers")
}

func (c *Config) defineSlurm(f *flag.FlagSet) {
	f.StringVar(&c.Slurm.API, "slurm", "", "slurmrestd's URL, http://host:port or unix:///path, or cli for Slurm's commands; empty for no Slurm")
	f.StringVar(&c.Slurm.User, "slurm-user", "", "whom slurmrestd takes us for")
	f.StringVar(&c.Slurm.TokenFile, "slurm-token-file", "", "file with a JWT for slurmrestd")
	f.StringVar(&c.Slurm.Conf, "slurm-conf", "", "slurm.conf for the commands")
	f.StringVar(&c.Slurm.Spool, "slurm-spool", "", "folder that the nodes share with us, for output and standard input; empty for none")
	f.StringVar(&c.Slurm.SpoolMode, "slurm-spool-mode", "0700", "of a task's folder there; 2770 or so where jobs run as another user")
	f.IntVar(&c.Slurm.MaxJobs, "slurm-max-jobs", 1000, "tasks that may be in Slurm at once")
	f.Func("slurm-tenants", "whose tasks may go to Slurm, comma-separated; empty for all tenants'. Admins' tasks without a tenant may", func(text string) error {
		c.Slurm.Tenants = list(text)
		return nil
	})
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
		"reddb": c.RedDB, "runners": c.Runners, "runner-token-file": c.RunnerTokenFile,
	} {
		if value == "" {
			return fmt.Errorf("--%s (or $%s) is required", name, envName(name))
		}
	}
	if c.TokenFile == "" && c.TokensFile == "" && c.Audiences == "" {
		return fmt.Errorf("--token-file, --tokens-file or --kubernetes-audiences (or $%s and so on) is required", envName("token-file"))
	}
	if err := c.checkNumbers(); err != nil {
		return err
	}
	if err := c.checkTimes(); err != nil {
		return err
	}
	c.RunnerTargets, c.KubernetesAudiences = list(c.Runners), list(c.Audiences)
	return c.readTokens()
}

func (c *Config) checkNumbers() error {
	switch {
	case c.Workers < 1 || c.Workers > 10_000:
		return fmt.Errorf("--workers is %d; want 1 to 10000", c.Workers)
	case c.MaxQueued < minQueued:
		return fmt.Errorf("--max-queued is %d; want at least %d, the largest batch", c.MaxQueued, minQueued)
	case c.Limiter != "vegas" && c.Limiter != "failsafe" && c.Limiter != "fixed":
		return fmt.Errorf("--limiter is %q; want vegas, failsafe or fixed", c.Limiter)
	case !octal(c.Slurm.SpoolMode):
		return fmt.Errorf("--slurm-spool-mode is %q; want an octal mode such as 0700", c.Slurm.SpoolMode)
	case c.Slurm.MaxJobs < 1 || c.Slurm.MaxJobs > 100_000:
		return fmt.Errorf("--slurm-max-jobs is %d; want 1 to 100000", c.Slurm.MaxJobs)
	}
	return nil
}

func (c *Config) checkTimes() error {
	for name, d := range map[string]time.Duration{"result-ttl": c.ResultTTL, "dead-ttl": c.DeadTTL} {
		if d < time.Second {
			return fmt.Errorf("--%s is %v; want at least 1s", name, d)
		}
	}
	switch {
	case c.Lease < 100*time.Millisecond:
		return fmt.Errorf("--lease is %v; want at least 100ms", c.Lease)
	case c.RunnerLostAfter < time.Second:
		return fmt.Errorf("--runner-lost-after is %v; want at least 1s", c.RunnerLostAfter)
	case c.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout is %v; want 0s or more", c.DrainTimeout)
	}
	return nil
}

func octal(text string) bool {
	mode, err := strconv.ParseUint(text, 8, 12)
	return err == nil && mode&0o700 == 0o700
}

// Mode is SpoolMode as Go has it, which keeps the group's bit elsewhere than Unix.
func (s Slurm) Mode() fs.FileMode {
	bits, err := strconv.ParseUint(s.SpoolMode, 8, 12)
	if err != nil {
		return 0o700 // check has refused it
	}
	mode := fs.FileMode(bits) & fs.ModePerm
	if bits&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	return mode
}

func list(text string) []string {
	var items []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// readTokens reads those that we send; those that clients send are read by package auth.
func (c *Config) readTokens() error {
	for _, t := range []struct {
		flag, path string
		into       *string
	}{
		{"reddb-token-file", c.RedDBTokenFile, &c.RedDBToken},
		{"runner-token-file", c.RunnerTokenFile, &c.RunnerToken},
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
