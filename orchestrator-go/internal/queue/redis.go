package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const group = "workers"

// Options are the settings of a Redis queue; zero durations are not defaulted.
type Options struct {
	Prefix    string        // of every key, such as "orchestrator/"
	Lease     time.Duration // after which a silent leader is replaced
	ResultTTL time.Duration // how long a finished task can be read
	DeadTTL   time.Duration // how long a dead letter can be read and retried
	MaxQueued int           // tasks that may be there without having ended; 0 for any number
}

// Redis keeps the queue in a server that speaks RESP: RedDB, or Redis itself from 7.0 on.
// Its methods are safe for concurrent use.
type Redis struct {
	db       *redis.Client
	opt      Options
	name     string // of this process, among those that may lead
	enqueues *grouper[draft]
	depth    int64 // entries that were live after the latest commit; of the goroutine that commits
}

// NewRedis returns a queue on db, which stays the caller's to close after Close.
func NewRedis(db *redis.Client, opt Options) (*Redis, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("naming the process: %w", err)
	}
	q := &Redis{db: db, opt: opt, name: host + "-" + rand.Text()[:8]}
	q.enqueues = newGrouper(q.room, q.commit)
	return q, nil
}

// Close ends the goroutine that groups enqueues; pending ones are refused.
func (q *Redis) Close() { q.enqueues.close() }

// Open makes the stream and its consumer group where they are missing.
func (q *Redis) Open(ctx context.Context) error {
	err := q.db.XGroupCreateMkStream(ctx, q.logKey(), group, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("creating the consumer group: %w", err)
	}
	return nil
}

// Ping tells whether the store answers.
func (q *Redis) Ping(ctx context.Context) error {
	if err := q.db.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("reaching the store: %w", err)
	}
	return nil
}

func (q *Redis) logKey() string           { return q.opt.Prefix + "log" }
func (q *Redis) deadKey() string          { return q.opt.Prefix + "dead" }
func (q *Redis) leaderKey() string        { return q.opt.Prefix + "leader" }
func (q *Redis) epochKey() string         { return q.opt.Prefix + "epoch" }
func (q *Redis) ledKey() string           { return q.opt.Prefix + "led" }
func (q *Redis) taskKey(id string) string { return q.opt.Prefix + "task/" + id }
func (q *Redis) runKey(id string) string  { return q.opt.Prefix + "run/" + id }
func (q *Redis) endKey(id string) string  { return q.opt.Prefix + "end/" + id }
func (q *Redis) lockKey(id string) string { return q.opt.Prefix + "lock/" + id }

func (q *Redis) outputKey(id, name string) string { return q.opt.Prefix + "out/" + id + "/" + name }

// record is the value at task/<id>.
type record struct {
	Spec        Spec      `json:"spec"`
	Traceparent string    `json:"traceparent,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	Depth       int       `json:"depth,omitempty"` // of its ancestors
	// Generation must equal that of the stream entry. An entry of another one is stale: it
	// lost the race of two requests with one idempotency key, or a dead letter was put back since.
	Generation string `json:"generation"`
	// Of a dead letter that was put back: its generation until then, and the log's newest entry then.
	// Attempts are counted from 1 again; Earlier has those of its former lives.
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
	Earlier int    `json:"earlier,omitempty"`
}

// decode unmarshals one value of an MGET reply; absent values report false.
func decode(value any, into any) (bool, error) {
	text, ok := value.(string)
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return false, fmt.Errorf("a stored value is not of this version: %w", err)
	}
	return true, nil
}

func encode(value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encoding for the store: %w", err)
	}
	return string(data), nil
}

func (r record) task(id string) Task {
	return Task{ID: id, Spec: r.Spec, State: Queued, Traceparent: r.Traceparent, CreatedAt: r.CreatedAt}
}
