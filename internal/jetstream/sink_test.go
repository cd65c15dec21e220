package jetstream_test

import (
	"fmt"
	"sync"
	"testing"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// collector is a sink that keeps everything that it gets.
type collector struct {
	conn  *jetstream.Conn
	taken chan int      // if not nil: gets the size of each batch
	free  chan struct{} // if not nil: a batch is free only after it is closed
	full  func()        // called when Hand has to wait

	mu     sync.Mutex
	events []string
	sizes  []int
	bad    []string
	frames int
	firsts []messages.Event
	said   []string
	seq    int64

	oversized []messages.OversizedEvent // After counts all collected events
}

func (c *collector) First(e messages.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.firsts = append(c.firsts, e)
}

func (c *collector) Info(name, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, name+": "+message)
}

func (c *collector) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	if c.free != nil {
		select {
		case <-c.free:
		default:
			return b, false
		}
	}
	c.take(b)
	b.Reset()
	return b, true
}

func (c *collector) Hand(b *messages.Batch) *messages.Batch {
	c.take(b)
	if c.full != nil {
		c.full()
	}
	select {
	case <-c.free:
		return &messages.Batch{}
	case <-c.conn.Done():
		return nil
	}
}

func (c *collector) Bad(frame []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad = append(c.bad, fmt.Sprintf("%.12s: %v", frame, err))
}

func (c *collector) take(b *messages.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes = append(c.sizes, len(b.Events))
	c.frames += b.Frames
	c.seq = b.Seq
	for _, s := range b.Oversized {
		s.After += len(c.events)
		c.oversized = append(c.oversized, s)
	}
	for i := range b.Events {
		c.events = append(c.events, string(b.Bytes(i)))
	}
	if c.taken != nil {
		c.taken <- len(b.Events)
	}
}

// expect compares the collected events with the events from…to-1.
func (c *collector) expect(t *testing.T, from, to int) {
	t.Helper()
	if len(c.events) != to-from {
		t.Fatalf("got %d events, want %d", len(c.events), to-from)
	}
	for i, got := range c.events {
		if want := eventJSON(from + i); got != want {
			t.Fatalf("event %d is\n%s, want\n%s", i, got, want)
		}
	}
}

// run runs the connection and collects the rest as well.
func (c *collector) run(lim jetstream.Limits) error {
	rest, err := c.conn.Run(&messages.Batch{}, c, lim)
	if rest != nil {
		c.mu.Lock()
		c.taken = nil
		c.mu.Unlock()
		c.take(rest)
	}
	return err
}
