package archive

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// Downloads wait for room, all but the one that is delivered next: without that nothing would ever be
// delivered.
func TestI5_WhatWaitsForTheConsumerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(100)
		ctx, cancel := context.WithCancel(t.Context())
		defer context.AfterFunc(ctx, w.wake)()
		const waits = "waits"
		var took [4]any
		take := func(ticket int, n int64) {
			took[ticket] = waits
			go func() { took[ticket] = w.take(ctx, ticket, n) }()
			synctest.Wait()
		}
		expect := func(what string, want ...any) {
			t.Helper()
			synctest.Wait()
			for ticket, want := range want {
				if took[ticket] != want {
					t.Errorf("%s: ticket %d: %v, want %v", what, ticket, took[ticket], want)
				}
			}
		}
		take(1, 60)
		take(2, 60) // too much with the first
		take(0, 500)
		expect("the next one is larger than the bound", nil, nil, waits)
		w.give(500)
		expect("one job more", nil, nil, waits)
		w.give(60)
		expect("room again", nil, nil, nil)
		take(3, 60)
		expect("full", nil, nil, nil, waits)
		w.next()
		w.next()
		w.next()
		expect("the others are delivered", nil, nil, nil, nil)
		w.next()
		take(1, 60)
		take(2, 60)
		cancel()
		if synctest.Wait(); !errors.Is(took[2].(error), context.Canceled) {
			t.Errorf("a wait that was cancelled: %v", took[2])
		}
	})
}
