package budget_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/serve/budget"
)

const mib = 1 << 20

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

// fill opens shares of a client and takes pages until there is no room, and returns how much it got.
func fill(t testing.TB, b *budget.Budget, client netip.Addr) (got, pages int64) {
	for {
		share := b.Open(client)
		t.Cleanup(share.Close)
		n := share.Take(8 * mib)
		if n == 0 {
			return got, pages
		}
		got, pages = got+n, pages+1
	}
}

// One client alone gets three quarters of the budget, and leaves room for others: the second one
// gets as many pages that it can read.
func TestI5_NoClientTakesWhatOthersNeed(t *testing.T) {
	const total = 128 * mib
	b := budget.New(total, nil)
	first, pages := fill(t, b, addr(1))
	if first < total*7/10 || first > total*3/4 || pages < 300 {
		t.Errorf("one client got %d of %d bytes in %d pages", first, total, pages)
	}
	second, pages := fill(t, b, addr(2))
	if second < total/8 || pages < 100 {
		t.Errorf("the second client got %d of %d bytes in %d pages", second, total, pages)
	}
	if third, pages := fill(t, b, addr(3)); third < total/40 || pages < 20 {
		t.Errorf("the third client got %d of %d bytes in %d pages", third, total, pages)
	}
}

func TestPagesAreSmallerWhenLittleIsLeft(t *testing.T) {
	b := budget.New(128*mib, nil)
	last := int64(8 * mib)
	for {
		share := b.Open(addr(1))
		t.Cleanup(share.Close)
		got := share.Take(8 * mib)
		if got == 0 {
			break
		}
		if got > last {
			t.Fatalf("a page got %d bytes after one of %d", got, last)
		}
		last = got
	}
	if last != budget.Least {
		t.Errorf("the last page got %d bytes, want %d", last, budget.Least)
	}
}

// What is taken, used, kept and given back adds up, in whatever order, and what is granted never
// exceeds the budget.
func TestI5_WhatIsTakenIsGivenBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const total = 4 * mib
		used := int64(0)
		b := budget.New(total, func(now int64) { used = now })
		var shares []*budget.Share
		held := map[*budget.Share][2]int64{} // page, kept
		for range rapid.IntRange(1, 200).Draw(r, "steps") {
			if len(shares) == 0 || rapid.IntRange(0, 4).Draw(r, "open") == 0 {
				shares = append(shares, b.Open(addr(rapid.IntRange(1, 3).Draw(r, "client"))))
			}
			i := rapid.IntRange(0, len(shares)-1).Draw(r, "share")
			s := shares[i]
			h := held[s]
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0:
				h[0] = s.Take(int64(rapid.IntRange(1, 2*mib).Draw(r, "want")))
			case 1:
				h[0] = rapid.Int64Range(0, h[0]).Draw(r, "used")
				s.Use(h[0])
			case 2:
				if n := rapid.Int64Range(-h[1], mib).Draw(r, "kept"); s.Keep(n) {
					h[1] += n
				}
			case 3:
				s.Close()
				delete(held, s)
				shares = append(shares[:i], shares[i+1:]...)
				goto check
			}
			held[s] = h
		check:
			sum := int64(0)
			for _, h := range held {
				sum += h[0] + h[1]
			}
			if sum != used || used > total {
				r.Fatalf("%d bytes are held, %d are counted, of %d", sum, used, total)
			}
		}
		for _, s := range shares {
			s.Close()
		}
		if used != 0 {
			r.Fatalf("%d bytes are counted when all is given back", used)
		}
	})
}

// Shares of one client that keep the same take it once, shares of others take it again.
func TestWhatAClientKeepsTwiceCountsOnce(t *testing.T) {
	used := int64(0)
	b := budget.New(mib, func(now int64) { used = now })
	key := [32]byte{1}
	var shares []*budget.Share
	for i, want := range []int64{1000, 1000, 2000} {
		s := b.Open(addr(1 + i/2))
		shares = append(shares, s)
		kept, ok := s.KeepShared(key, 1000, i)
		if !ok || kept != i/2*2 || used != want {
			t.Errorf("share %d keeps %v, %t; %d bytes are used, want %d", i, kept, ok, used, want)
		}
	}
	if _, ok := shares[0].KeepShared([32]byte{2}, mib, nil); ok {
		t.Error("something was kept without room for it")
	}
	shares[0].Leave(key)
	shares[0].Close()
	if used != 2000 {
		t.Errorf("%d bytes are used while two shares keep them", used)
	}
	shares[1].Close()
	shares[2].Close()
	if used != 0 {
		t.Errorf("%d bytes are used when nobody keeps them", used)
	}
}

func TestAwaitGoesOnWhenSomethingIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(mib, nil)
		holds := b.Open(addr(1))
		for holds.Keep(mib) || holds.Keep(mib*3/4) {
			break
		}
		waits := b.Open(addr(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got := make(chan int64)
		go func() { got <- waits.Await(ctx, mib) }()
		synctest.Wait()
		holds.Close()
		if n := <-got; n < budget.Least {
			t.Errorf("got %d bytes after all was given back", n)
		}
		waits.Use(0)
		again := b.Open(addr(1))
		again.Keep(mib * 3 / 4)
		if n := waits.Await(ctx, mib); n != 0 || ctx.Err() == nil {
			t.Errorf("got %d bytes of a budget that is used up", n)
		}
		again.Close()
		waits.Close()
	})
}

func ExampleShare() {
	b := budget.New(128*mib, nil)
	share := b.Open(netip.MustParseAddr("192.0.2.1"))
	defer share.Close()
	room := share.Take(8 * mib) // read a page of up to that many bytes
	share.Use(200_000)          // that has so many
	fmt.Println(room >= budget.Least)
	// Output: true
}
