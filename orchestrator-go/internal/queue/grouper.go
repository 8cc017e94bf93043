package queue

import (
	"context"
	"errors"
	"sync"
)

// maxGroup bounds how many items one commit carries, so that no transaction grows without end.
const maxGroup = 1024

var errClosed = errors.New("the queue is closed")

// grouper turns concurrent submissions into few commits: whatever arrives while
// one commit is under way goes together into the next (group commit).
type grouper[T any] struct {
	commit   func([]T) error
	incoming chan batch[T]
	closing  chan struct{}
	stopped  sync.WaitGroup
}

type batch[T any] struct {
	items []T
	reply chan error
}

func newGrouper[T any](commit func([]T) error) *grouper[T] {
	g := &grouper[T]{commit: commit, incoming: make(chan batch[T], maxGroup), closing: make(chan struct{})}
	g.stopped.Go(g.loop)
	return g
}

// submit returns when its items, all in the same commit, are stored or refused.
// When ctx ends first the items may still be stored: the caller knows nothing.
func (g *grouper[T]) submit(ctx context.Context, items []T) error {
	b := batch[T]{items: items, reply: make(chan error, 1)}
	select {
	case g.incoming <- b:
	case <-g.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-b.reply:
		return err
	case <-g.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *grouper[T]) loop() {
	for {
		select {
		case first := <-g.incoming:
			g.flush(first)
		case <-g.closing:
			return
		}
	}
}

func (g *grouper[T]) flush(first batch[T]) {
	group, items := []batch[T]{first}, first.items
	for len(items) < maxGroup {
		select {
		case next := <-g.incoming:
			group, items = append(group, next), append(items, next.items...)
			continue
		default:
		}
		break
	}
	err := g.commit(items)
	for _, b := range group {
		b.reply <- err
	}
}

func (g *grouper[T]) close() {
	close(g.closing)
	g.stopped.Wait()
}
