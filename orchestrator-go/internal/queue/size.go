package queue

import (
	"strconv"

	"github.com/redis/go-redis/v9"
)

const (
	// MaxTaskBytes bounds a task as it is stored, in JSON: room for standard input of 1 MiB, however much of it
	// is escaped, and for as many arguments as a kernel takes.
	MaxTaskBytes = 8 << 20

	// chunkBytes is about what is sent to the store, or asked of it, at once.
	chunkBytes = 8 << 20

	// asideBytes is about what comes with a task's record: where it stands, and its outcome without a large result.
	asideBytes = 3 << 10
)

// cost is about how many bytes it takes to read an entry's task: its entry says how large the record is.
func cost(m redis.XMessage) int {
	text, _ := m.Values["bytes"].(string)
	bytes, err := strconv.Atoi(text)
	if err != nil || bytes < 0 {
		bytes = MaxTaskBytes // an entry that does not say
	}
	return bytes + asideBytes
}

// fitting is how many of the first entries can be read at once, at least one.
func fitting(entries []Entry) int {
	total := 0
	for i, e := range entries {
		if total += e.Bytes + asideBytes; total > chunkBytes {
			return max(1, i)
		}
	}
	return len(entries)
}
