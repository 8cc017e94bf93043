package queue

import (
	"slices"
	"testing"
)

// TestGroupsAreBounded has batches wait while a first commit is under way, and looks at what goes together then.
func TestGroupsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		items, bytes int // of each batch
		want         int // batches in one commit
	}{
		"by items":   {maxGroup / 4, 1, 4},
		"by bytes":   {1, maxGroupBytes / 2, 2},
		"by neither": {1, 1, 8},
	} {
		t.Run(name, func(t *testing.T) {
			started, proceed := make(chan struct{}), make(chan struct{})
			var commits []int
			g := newGrouper(
				func(wanted int) (int, error) { return wanted, nil },
				func(items []int) error {
					if commits = append(commits, len(items)); len(commits) == 1 {
						close(started)
						<-proceed
					}
					return nil
				},
			)
			var replies []chan error
			send := func() {
				b := batch[int]{items: make([]int, c.items), bytes: c.bytes, reply: make(chan error, 1)}
				replies = append(replies, b.reply)
				g.incoming <- b
			}
			send()
			<-started
			for range 8 {
				send()
			}
			close(proceed)
			for _, reply := range replies {
				if err := <-reply; err != nil {
					t.Error(err)
				}
			}
			g.close()
			if want := slices.Repeat([]int{c.want * c.items}, 8/c.want); !slices.Equal(commits[1:], want) {
				t.Errorf("commits of %v items, want %v", commits[1:], want)
			}
		})
	}
}
