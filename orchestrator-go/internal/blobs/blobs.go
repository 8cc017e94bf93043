// Package blobs reads RedDB's blobs over HTTP (contracts/http/reddb.yaml).
package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// ErrNotFound says that the store has no such blob.
var ErrNotFound = errors.New("no such blob")

// headerTimeout is how long the store may take to begin its answer; the content may take longer.
const headerTimeout = 30 * time.Second

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Client reads blobs. Make one with New.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New returns a client of the store at a base URL, such as http://reddb:8082.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("the store of blobs: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("the store of blobs: %q is no http://host:port", u.Redacted())
	}
	transport := &http.Transport{ResponseHeaderTimeout: headerTimeout, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{Transport: transport}}, nil
}

// Open returns a blob's content and its size in bytes, -1 where the store does not tell. ctx bounds the
// reading too. Errors: ErrNotFound; everything else is the store being unreachable or refusing.
func (c *Client) Open(ctx context.Context, sha256 string) (io.ReadCloser, int64, error) {
	if !digest.MatchString(sha256) {
		return nil, 0, fmt.Errorf("%w: %.80q is no SHA-256 in 64 lower-case hexadecimal digits", ErrNotFound, sha256)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/blobs/"+sha256, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("asking for a blob: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // without the URL: who knows a blob's whole name may use it, and errors are logged
	}
	if err != nil {
		return nil, 0, fmt.Errorf("asking for a blob: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, resp.ContentLength, nil
	}
	err = refusal(resp, sha256)
	return nil, 0, errors.Join(err, resp.Body.Close())
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func refusal(resp *http.Response, sha256 string) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("reading why a blob was refused with status %d: %w", resp.StatusCode, err)
	}
	// Another 404 is a wrong address, not a missing blob.
	if resp.StatusCode == http.StatusNotFound && strings.Contains(string(text), "BlobNotFound") {
		return fmt.Errorf("%w: %s", ErrNotFound, sha256)
	}
	return fmt.Errorf("the store answered a request for a blob with status %d: %.200q", resp.StatusCode, text)
}
