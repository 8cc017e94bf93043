package blobs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/blobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, base, token string) *blobs.Client {
	t.Helper()
	c, err := blobs.New(base, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRealStore(t *testing.T) {
	store := backendtest.StartBlobStore(t)
	base, token := store.URL, store.Token
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	content := bytes.Repeat([]byte("archive "), 1<<17)
	name := store.Put(t, content)

	t.Run("content and size", func(t *testing.T) {
		body, size, err := client(t, base, token).Open(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || size != int64(len(content)) || !bytes.Equal(got, content) {
			t.Errorf("%d bytes of %d, %v", len(got), size, err)
		}
	})
	t.Run("an unknown blob", func(t *testing.T) {
		if _, _, err := client(t, base, token).Open(ctx, strings.Repeat("0", 64)); !errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a refused token is not a missing blob", func(t *testing.T) {
		if _, _, err := client(t, base, "wrong").Open(ctx, name); err == nil || errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a wrong address is not a missing blob", func(t *testing.T) {
		if _, _, err := client(t, base+"/elsewhere", token).Open(ctx, name); err == nil || errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoPathIsMadeOfAnOddName(t *testing.T) {
	c := client(t, "http://127.0.0.1:1", "")
	for _, name := range []string{"", "../kv/secret", strings.Repeat("A", 64)} {
		if _, _, err := c.Open(t.Context(), name); !errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestAddressIsChecked(t *testing.T) {
	for _, base := range []string{"", "reddb:8082", "redis://reddb", "http://u:p@reddb"} {
		if _, err := blobs.New(base, ""); err == nil {
			t.Errorf("%q was accepted", base)
		}
	}
}

func TestAnErrorDoesNotHoldTheNameThatOpensABlob(t *testing.T) {
	name := strings.Repeat("ab", 32)
	if _, _, err := client(t, "http://127.0.0.1:1", "t").Open(t.Context(), name); err == nil || strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}
