package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
)

// maxTokenFile bounds a file of tokens: some ten thousand of them.
const maxTokenFile = 1 << 20

// TenantForm is what a tenant's name looks like: a Kubernetes namespace's.
var TenantForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Static knows the tokens that files hold. A file that changes is read again; one that can no longer be read, or
// no longer understood, leaves the tokens as they were.
type Static struct {
	log   *slog.Logger
	files []*tokenFile
}

type known struct {
	hash      [sha256.Size]byte
	principal Principal
}

// NewStatic reads the files. adminFile holds one token, an admin's; tokensFile has lines `token name tenant [admin]`,
// a tenant of "-" for who has none, blank lines and # for comments. Either may be empty, for none.
func NewStatic(adminFile, tokensFile string, log *slog.Logger) (*Static, error) {
	s := &Static{log: log.With("component", "auth")}
	for path, parse := range map[string]func(string) ([]known, error){adminFile: parseAdmin, tokensFile: parseTokens} {
		if path == "" {
			continue
		}
		f := &tokenFile{path: path, parse: parse}
		if err := f.refresh(); err != nil {
			return nil, err
		}
		s.files = append(s.files, f)
	}
	return s, nil
}

// Authenticate implements Authenticator.
func (s *Static) Authenticate(ctx context.Context, token string) (Principal, error) {
	hash, found := sha256.Sum256([]byte(token)), Principal{}
	match := 0
	for _, f := range s.files {
		if err := f.refresh(); err != nil {
			s.log.ErrorContext(ctx, "tokens are as they were before", "error", err)
		}
		// Hashes of equal length, and all of them: neither content, length nor place shows in the time it takes.
		for _, k := range f.tokens() {
			if subtle.ConstantTimeCompare(k.hash[:], hash[:]) == 1 {
				match, found = 1, k.principal
			}
		}
	}
	if match == 0 || token == "" {
		return Principal{}, ErrUnknown
	}
	return found, nil
}

func parseAdmin(text string) ([]known, error) {
	token := strings.TrimSpace(text)
	if token == "" {
		return nil, errors.New("is empty; put a token in it")
	}
	return []known{{sha256.Sum256([]byte(token)), Principal{Name: "admin", Admin: true}}}, nil
}

// parseTokens names lines by their number alone: they hold secrets.
func parseTokens(text string) ([]known, error) {
	var all []known
	seen := map[[sha256.Size]byte]bool{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		admin := len(words) == 4 && words[3] == "admin"
		if len(words) != 3 && !admin {
			return nil, fmt.Errorf("line %d: want `token name tenant`, and perhaps `admin`", i+1)
		}
		k := known{sha256.Sum256([]byte(words[0])), Principal{Name: words[1], Tenant: words[2], Admin: admin}}
		if k.principal.Tenant == "-" && admin {
			k.principal.Tenant = ""
		} else if !TenantForm.MatchString(k.principal.Tenant) {
			return nil, fmt.Errorf("line %d: a tenant is up to 63 of a-z, 0-9 and -, as a namespace is; only admins may have none (-)", i+1)
		}
		if seen[k.hash] {
			return nil, fmt.Errorf("line %d: the token has a line before", i+1)
		}
		seen[k.hash] = true
		all = append(all, k)
	}
	return all, nil
}

// tokenFile is a file of tokens as it was last understood.
type tokenFile struct {
	path  string
	parse func(string) ([]known, error)

	mu   sync.Mutex
	seen os.FileInfo // nil: try again
	last []known
	err  error // of the version that was seen: told once
}

func (f *tokenFile) tokens() []known {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// refresh reads the file when it is another than the one that was seen. Errors are returned once per version.
func (f *tokenFile) refresh() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return nil
	}
	if err == nil {
		f.seen = info
		err = f.read(info)
	} else if f.seen == nil && f.err != nil {
		return nil // still gone, and told
	} else {
		f.seen = nil
	}
	f.err = err
	if err != nil {
		return fmt.Errorf("tokens in %s: %w", f.path, err)
	}
	return nil
}

func (f *tokenFile) read(info os.FileInfo) error {
	if info.Size() > maxTokenFile {
		return fmt.Errorf("the file is larger than %d bytes", maxTokenFile)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	tokens, err := f.parse(string(text))
	if err == nil {
		f.last = tokens
	}
	return err
}
