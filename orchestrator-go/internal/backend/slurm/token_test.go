package slurm

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

// As most sites have it: slurmrestd asks for tokens that slurmctld has signed.
func TestOverRESTWithATokenOfSlurms(t *testing.T) {
	t.Parallel()
	c := slurmtest.StartWithTokens(t)
	url, err := c.RESTWithTokens()
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	username := me.Username
	if os.Geteuid() == 0 {
		username = slurmtest.Nobody
	}
	token, file := "", filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if token, err = c.Token(username, time.Hour); err != nil {
		t.Fatal(err)
	}
	b := overREST(t, c, url, username, func(o *Options) { o.TokenFile, o.Patience = file, time.Millisecond })
	for _, wrong := range []string{"", "SLURM_JWT=eyJhbGciOiJIUzI1NiJ9.e30.AAAA"} {
		write(wrong)
		_, err := begin(t, b, taskOf(queue.Spec{Argv: sh("true")})).end()
		// Slurm 22.05 tells no more than that it got no answer from itself; either way the task is tried again.
		if fault, ok := errors.AsType[*backend.Fault](err); !ok || fault.Code != "SlurmAuth" && fault.Code != "SlurmUnreachable" {
			t.Errorf("with the token %q: %v", wrong, err)
		}
	}
	write(token)
	if r := begin(t, b, taskOf(queue.Spec{Argv: sh("id -un; cat"), Stdin: "given"})).result(); r.Stdout != username+"\ngiven" {
		t.Errorf("%+v", r)
	}
}
