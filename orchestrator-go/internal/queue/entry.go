package queue

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Op is what an entry of the log asks for.
type Op string

// What entries ask for.
const (
	OpTask   Op = ""       // that a task be carried out
	OpCancel Op = "cancel" // that one end
	OpClose  Op = "close"  // that a scope take no more children
)

// Entry is an entry of the log: a task, or a request about one.
type Entry struct {
	ID         string // of the entry
	Op         Op
	Task       string // id
	Generation string // of the task: see record
	Meta       Meta
	Begun      int       // attempts so far
	Bytes      int       // of the task's record
	Standing   *Standing // of a task that an earlier leader has begun

	base  int  // of Begun: attempts that the entry's delivery count does not hold
	moved bool // it was appended again: its task may have a standing
}

// Meta is what scheduling needs to know of a task, without its command.
type Meta struct {
	Class       Class     `json:"c,omitempty"`
	Backend     string    `json:"e,omitempty"`
	Tenant      string    `json:"t,omitempty"`
	Priority    int       `json:"p,omitempty"`
	NotBefore   time.Time `json:"n,omitzero"`
	Deadline    time.Time `json:"d,omitzero"`
	LimitKey    string    `json:"k,omitempty"`
	LimitMax    int       `json:"m,omitempty"`
	Parent      string    `json:"u,omitempty"`
	Scope       bool      `json:"s,omitempty"`
	BudgetMS    int64     `json:"b,omitempty"`
	MaxAttempts int       `json:"a,omitempty"`
	OutputBytes int64     `json:"o,omitempty"` // that its result may have
	Earlier     int       `json:"r,omitempty"` // attempts before it was put back as a dead letter: its tokens go on from there
}

// Standing is where a task stands that was begun and has not ended. It survives its leader.
type Standing struct {
	State     State           `json:"state"` // Running, Waiting, or Queued for its next attempt
	Attempts  int             `json:"attempts"`
	Place     string          `json:"place,omitempty"`
	StartedAt time.Time       `json:"started_at,omitzero"`
	RetryAt   time.Time       `json:"retry_at,omitzero"`
	Fault     *Fault          `json:"error,omitempty"` // of the attempt before
	History   []AttemptRecord `json:"history,omitempty"`
	Children  Children        `json:"children,omitzero"`
	SpentMS   int64           `json:"spent_ms,omitempty"`
	SpentAt   time.Time       `json:"spent_at,omitzero"` // up to when SpentMS counts what ran
	Closed    bool            `json:"closed,omitempty"`  // of a scope
	Own       *Outcome        `json:"-"`                 // with which it will end, after its children
}

func metaOf(s Spec) Meta {
	return Meta{
		Class: s.Class, Backend: s.Backend, Tenant: s.Tenant, Priority: s.Priority, NotBefore: s.NotBefore, Deadline: s.Deadline,
		LimitKey: s.LimitKey, LimitMax: s.LimitMax, Parent: s.Parent, Scope: s.Scope, BudgetMS: s.BudgetMS, MaxAttempts: s.MaxAttempts,
		OutputBytes: 2 * s.OutputLimitBytes,
	}
}

// fields are those of a task's entry in the stream.
func (e Entry) fields() ([]string, error) {
	meta, err := encode(e.Meta)
	fields := []string{"id", e.Task, "generation", e.Generation, "bytes", strconv.Itoa(e.Bytes), "meta", meta}
	if e.moved {
		fields = append(fields, "moved", "1")
	}
	if e.Begun > 0 {
		fields = append(fields, "begun", strconv.Itoa(e.Begun))
	}
	if e.ID != "" {
		fields = append(fields, "from", e.ID) // it is appended again
	}
	return fields, err
}

// parseEntry reads an entry that was delivered so many times, once for being read and once more for each attempt. Not even
// once stands for an attempt that was broken off, and had begun before the entry was appended again.
func parseEntry(m redis.XMessage, deliveries int) (Entry, error) {
	e := Entry{ID: m.ID, Begun: deliveries - 1, Bytes: cost(m) - asideBytes}
	text := func(name string) string {
		value, _ := m.Values[name].(string) // absent from an entry of somebody else: no task has the id ""
		return value
	}
	e.Task, e.Op, e.Generation = text("id"), Op(text("op")), text("generation")
	if meta := text("meta"); meta != "" {
		if err := json.Unmarshal([]byte(meta), &e.Meta); err != nil {
			return e, fmt.Errorf("entry %s of the log is not of this version: %w", m.ID, err)
		}
	}
	e.moved = text("moved") != ""
	if begun := text("begun"); begun != "" {
		n, err := strconv.Atoi(begun)
		if err != nil {
			return e, fmt.Errorf("entry %s of the log is not of this version: %w", m.ID, err)
		}
		e.Begun, e.base = e.Begun+n, n
	}
	e.Begun = max(0, e.Begun)
	return e, nil
}

func taskID(m redis.XMessage) string {
	id, _ := m.Values["id"].(string)
	return id
}

// At is the entry's place in the log: the time, by the store's clock in milliseconds, and a number.
func (e Entry) At() (ms, seq uint64) { return split(e.ID) }

// Before says whether the entry was appended before a time, by the store's clock.
func (e Entry) Before(t time.Time) bool { return older(e.ID, at(t)) == e.ID && e.ID != at(t) }

// BegunSince says whether an attempt began on the entry since it was appended.
func (e Entry) BegunSince() bool { return e.Begun > e.base }

// Follows says whether the entry was appended after another.
func (e Entry) Follows(other Entry) bool {
	return e.ID != other.ID && older(e.ID, other.ID) == other.ID
}
