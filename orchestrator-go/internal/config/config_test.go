package config_test

import (
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/config"
)

// arguments are those of a working configuration, and what is added.
func arguments(t *testing.T, more ...string) []string {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(" secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return append([]string{
		"--reddb", "redis://localhost:6380", "--runners", "http://a:1, dns+http://b:2",
		"--token-file", path, "--runner-token-file", path,
	}, more...)
}

func parse(args []string, environment map[string]string) (*config.Config, error) {
	return config.Parse(args, func(name string) string { return environment[name] }, io.Discard)
}

func TestFlagsWinOverTheEnvironmentOverDefaults(t *testing.T) {
	c, err := parse(arguments(t, "--workers", "7"), map[string]string{
		"ORCHESTRATOR_WORKERS": "9", "ORCHESTRATOR_LEASE": "3s",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Workers != 7 || c.Lease != 3*time.Second || c.Listen != ":9097" || c.RunnerToken != "secret" {
		t.Errorf("%+v", c)
	}
	if got := strings.Join(c.RunnerTargets, " "); got != "http://a:1 dns+http://b:2" {
		t.Errorf("runners %q", got)
	}
}

func TestSlurmsTenants(t *testing.T) {
	c, err := parse(arguments(t), map[string]string{"ORCHESTRATOR_SLURM_TENANTS": "lab, team-a,"})
	if err != nil || strings.Join(c.Slurm.Tenants, " ") != "lab team-a" {
		t.Errorf("%q, %v", c.Slurm.Tenants, err)
	}
}

func TestErrorsNameTheSetting(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{nil, nil, "is required"},
		{arguments(t, "--workers", "0"), nil, "--workers"},
		{arguments(t, "--lease", "1ms"), nil, "--lease"},
		{arguments(t, "--runner-lost-after", "999ms"), nil, "--runner-lost-after"},
		{arguments(t), map[string]string{"ORCHESTRATOR_MAX_QUEUED": "9999"}, "--max-queued"},
		{arguments(t, "--result-ttl", "0s"), nil, "--result-ttl"},
		{arguments(t, "--drain-timeout", "-1s"), nil, "--drain-timeout"},
		{arguments(t, "--runner-token-file", "/does/not/exist"), nil, "--runner-token-file"},
		{arguments(t, "--runner-token-file", os.DevNull), nil, "--runner-token-file"},
		{arguments(t, "--token-file", ""), nil, "--kubernetes-audiences"},
		{arguments(t, "--limiter", "magic"), nil, "--limiter"},
		{arguments(t, "--slurm-max-jobs", "0"), nil, "--slurm-max-jobs"},
		{arguments(t, "--slurm-spool-mode", "rwx"), nil, "--slurm-spool-mode"},
		{arguments(t), map[string]string{"ORCHESTRATOR_WORKERS": "many"}, "$ORCHESTRATOR_WORKERS"},
		{arguments(t, "serve"), nil, "serve"},
	} {
		if _, err := parse(c.args, c.env); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v", c.args, c.env, err)
		}
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	_, err := config.Parse([]string{"--help"}, func(string) string { return "" }, &out)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "$ORCHESTRATOR_REDDB_TOKEN_FILE") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestTheSpoolsModeKeepsTheGroupsBit(t *testing.T) {
	c, err := parse(arguments(t, "--slurm-spool-mode", "2770"), nil)
	if err != nil || c.Slurm.Mode() != fs.ModeSetgid|0o770 {
		t.Errorf("%v, %v", c.Slurm.Mode(), err)
	}
}
