package queue

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
)

// place is how far a listing has come through the log, which goes on to change: a task's entry is appended again when it
// has become old, and one of its own comes when a dead letter is put back. So that every task is on one page alone, a
// listing goes by what the log was when it began.
//
// Of a task's entries, those older than the floor do not count: Trim was free to delete them. The oldest of the others
// is the one at which the task is listed. It is still there, because Trim keeps entries for listGrace longer.
type place struct {
	last  string // entry that was looked at last
	top   string // the newest entry when the listing began
	floor string // entries before it do not count
}

var placeForm = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}(\.[0-9]{1,20}-[0-9]{1,20}){0,2}$`)

// parsePlace reads a cursor. Errors: ErrBadCursor.
func parsePlace(cursor string) (place, error) {
	if cursor == "" {
		return place{}, nil
	}
	if !placeForm.MatchString(cursor) {
		return place{}, ErrBadCursor
	}
	last, rest, _ := strings.Cut(cursor, ".")
	top, floor, _ := strings.Cut(rest, ".")
	return place{last, top, floor}, nil
}

func (p place) String() string { return p.last + "." + p.top + "." + p.floor }

// floor is the oldest entry that counts for a listing that begins now.
func (q *Redis) floor(ctx context.Context) (string, error) {
	cut, err := q.cut(ctx, 0)
	if errors.Is(err, errNoGroup) {
		return at0, nil // nothing was ever read
	}
	return cut, err
}

const at0 = "0-0"

// first says whether an entry is the oldest of its task's that counts.
func (l *lister) first(m redis.XMessage) bool {
	if l.letters {
		return true
	}
	from, moved := m.Values["from"].(string)
	return older(l.floor, m.ID) == l.floor && (!moved || older(l.floor, from) != l.floor)
}

// current says whether an entry is of the task as it is now, or as it was when the listing began: one that was put
// back since has an entry above the listing's top. All others lost the race of two requests with one idempotency key,
// or are of a task that was put back before, and listed there.
func (l *lister) current(m redis.XMessage, v *view) bool {
	generation, _ := m.Values["generation"].(string)
	return l.letters || generation == v.generation ||
		v.after != "" && generation == v.before && older(l.top, v.after) == l.top
}

// newest is the latest entry of the log.
func (q *Redis) newest(ctx context.Context) (string, error) {
	entries, err := q.db.XRevRangeN(ctx, q.logKey(), "+", "-", 1).Result()
	if err != nil {
		return "", fmt.Errorf("looking at the log's end: %w", err)
	}
	if len(entries) == 0 {
		return at0, nil
	}
	return entries[0].ID, nil
}
