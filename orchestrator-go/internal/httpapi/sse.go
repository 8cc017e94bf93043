package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"
)

// sendTimeout is for how long a client may not read: then its stream ends, and it can resume.
const sendTimeout = 10 * time.Second

const eventStream = "text/event-stream"

// sse writes server-sent events.
type sse struct {
	w    http.ResponseWriter
	ctrl *http.ResponseController
}

func newSSE(w http.ResponseWriter) *sse {
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that gather replies otherwise
	return &sse{w, http.NewResponseController(w)}
}

// event sends data as one line of JSON.
func (s *sse) event(name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("an event: %w", err)
	}
	return s.send("event: %s\nid: %s\ndata: %s\n\n", name, id, text)
}

// comment says something that clients pass over, which keeps the connection open.
func (s *sse) comment(text string) error { return s.send(": %s\n\n", text) }

func (s *sse) send(format string, v ...any) error {
	if err := s.ctrl.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("a stream's deadline: %w", err)
	}
	if _, err := fmt.Fprintf(s.w, format, v...); err != nil {
		return fmt.Errorf("sending an event: %w", err)
	}
	return s.ctrl.Flush()
}

// whole leaves a character that has only begun for the next time.
func whole(chunk []byte, next int64) ([]byte, int64) {
	for back := 1; back < utf8.UTFMax && back <= len(chunk); back++ {
		if i := len(chunk) - back; utf8.RuneStart(chunk[i]) {
			if !utf8.FullRune(chunk[i:]) {
				return chunk[:i], next - int64(back)
			}
			break
		}
	}
	return chunk, next
}
