package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/auth"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	// As Kubernetes mounts a Secret: a new file takes the name.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestTokensOfFiles(t *testing.T) {
	dir := t.TempDir()
	admin, tokens := filepath.Join(dir, "admin"), filepath.Join(dir, "tokens")
	write(t, admin, "root-token\n")
	write(t, tokens, "# people\n\nalpha ann team-a\nbeta bob team-b admin\ngamma ops - admin\n")
	static, err := auth.NewStatic(admin, tokens, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]auth.Principal{
		"root-token": {Name: "admin", Admin: true}, "alpha": {Name: "ann", Tenant: "team-a"},
		"beta": {Name: "bob", Tenant: "team-b", Admin: true}, "gamma": {Name: "ops", Admin: true},
	} {
		if got, err := static.Authenticate(context.Background(), token); err != nil || got != want {
			t.Errorf("%s: %+v, %v", token, got, err)
		}
	}
	for _, token := range []string{"", "alph", "alpha ", "#", "ann", "root-token\n"} {
		if got, err := static.Authenticate(context.Background(), token); !errors.Is(err, auth.ErrUnknown) {
			t.Errorf("%q: %+v, %v", token, got, err)
		}
	}
}

func TestTokensAreReadAgainWhenTheyChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "old ann team-a\n")
	var out bytes.Buffer
	static, err := auth.NewStatic("", path, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	knows := func(token string) bool {
		_, err := static.Authenticate(context.Background(), token)
		return err == nil
	}
	write(t, path, "new ann team-a\n")
	if !knows("new") || knows("old") {
		t.Error("the change was not seen")
	}
	write(t, path, "secret ann\n")
	for range 2 {
		if !knows("new") {
			t.Error("a file that cannot be understood took the tokens away")
		}
	}
	if text := out.String(); strings.Count(text, "line 1") != 1 || strings.Contains(text, "secret") {
		t.Errorf("logged: %s", text)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !knows("new") {
		t.Error("a file that is gone took the tokens away")
	}
	write(t, path, "third ann team-a\n")
	if !knows("third") || knows("new") {
		t.Error("the file that came back was not read")
	}
}

func TestWrongFilesAreRefusedAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	for text, want := range map[string]string{
		"a b": "line 1", "\na b Team": "a tenant", "a b c d": "line 1", "a b -": "only admins",
		"a b c\na d e": "line 2", strings.Repeat("#", 2<<20): "larger",
	} {
		write(t, path, text)
		if _, err := auth.NewStatic("", path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	write(t, path, " \n")
	if _, err := auth.NewStatic(path, "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an empty admin token")
	}
	if _, err := auth.NewStatic(path+"-absent", "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an absent file")
	}
}

func TestAllowedIsTheOwnTenant(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		who    auth.Principal
		tenant string
		want   bool
	}{
		{auth.Principal{Tenant: "a"}, "a", true}, {auth.Principal{Tenant: "a"}, "b", false},
		{auth.Principal{Tenant: "a"}, "", false}, {auth.Principal{}, "", false},
		{auth.Principal{Admin: true}, "b", true}, {auth.Principal{Admin: true}, "", true},
	} {
		if got, err := c.who.Allowed(ctx, auth.Write, c.tenant); err != nil || got != c.want {
			t.Errorf("%+v in %q: %v, %v", c.who, c.tenant, got, err)
		}
	}
}

type answers struct {
	who auth.Principal
	err error
}

func (a answers) Authenticate(context.Context, string) (auth.Principal, error) { return a.who, a.err }

func TestAChainAsksAllAndKeepsAFailure(t *testing.T) {
	unknown, down := answers{err: auth.ErrUnknown}, answers{err: errors.New("away")}
	ann := answers{who: auth.Principal{Name: "ann"}}
	for _, c := range []struct {
		chain auth.Chain
		name  string
		err   error
	}{
		{auth.Chain{unknown, ann}, "ann", nil}, {auth.Chain{down, ann}, "ann", nil},
		{auth.Chain{unknown, unknown}, "", auth.ErrUnknown}, {auth.Chain{down, unknown}, "", down.err}, {nil, "", auth.ErrUnknown},
	} {
		who, err := c.chain.Authenticate(context.Background(), "x")
		if who.Name != c.name || !errors.Is(err, c.err) {
			t.Errorf("%v: %v, %v", c.chain, who, err)
		}
	}
}
