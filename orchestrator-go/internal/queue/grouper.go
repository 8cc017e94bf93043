package queue

import (
	"context"
	"errors"
	"sync"
)

// A commit gathers batches until it carries so many items or bytes. With the largest batch that a
// request can bring on top, it stays below what RedDB takes in one transaction (64 MiB).
const (
	maxGroup      = 1024
	maxGroupBytes = chunkBytes
)

var errClosed = errors.New("the queue is closed")

// grouper turns concurrent submissions into few commits: whatever arrives while
// one commit is under way goes together into the next (group commit).
type grouper[T any] struct {
	room     func(wanted int) (int, error) // how many more items there may be; asked before each commit
	commit   func([]T) error
	incoming chan batch[T]
	closing  chan struct{}
	stopped  sync.WaitGroup
}

type batch[T any] struct {
	items []T
	bytes int
	reply chan error
}

func newGrouper[T any](room func(int) (int, error), commit func([]T) error) *grouper[T] {
	g := &grouper[T]{
		room: room, commit: commit,
		incoming: make(chan batch[T], maxGroup), closing: make(chan struct{}),
	}
	g.stopped.Go(g.loop)
	return g
}

// submit returns when its items, of so many bytes and all in the same commit, are stored or refused.
// When ctx ends first the items may still be stored: the caller knows nothing. Errors: ErrQueueFull.
func (g *grouper[T]) submit(ctx context.Context, items []T, bytes int) error {
	b := batch[T]{items: items, bytes: bytes, reply: make(chan error, 1)}
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
	group := g.admit(g.gather(first))
	if len(group) == 0 {
		return
	}
	var items []T
	for _, b := range group {
		items = append(items, b.items...)
	}
	err := g.commit(items)
	for _, b := range group {
		b.reply <- err
	}
}

// gather adds what is waiting already to a first batch.
func (g *grouper[T]) gather(first batch[T]) []batch[T] {
	group, items, bytes := []batch[T]{first}, len(first.items), first.bytes
	for items < maxGroup && bytes < maxGroupBytes {
		select {
		case next := <-g.incoming:
			group, items, bytes = append(group, next), items+len(next.items), bytes+next.bytes
		default:
			return group
		}
	}
	return group
}

// admit refuses the batches that there is no room for, and returns the others.
func (g *grouper[T]) admit(group []batch[T]) []batch[T] {
	wanted := 0
	for _, b := range group {
		wanted += len(b.items)
	}
	room, err := g.room(wanted)
	admitted := make([]batch[T], 0, len(group))
	for _, b := range group {
		switch {
		case err != nil:
			b.reply <- err
		case len(b.items) > room:
			b.reply <- ErrQueueFull
		default:
			room -= len(b.items)
			admitted = append(admitted, b)
		}
	}
	return admitted
}

func (g *grouper[T]) close() {
	close(g.closing)
	g.stopped.Wait()
}
