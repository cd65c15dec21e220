package bell

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// All goroutines that wait for a bell are woken, whenever they came, and none before the bell is
// rung.
func TestBellWakesEveryone(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			var b Bell
			woken := new(atomic.Int64)
			hang := func(n int) {
				for i := range n {
					go func() {
						<-b.Rope(int64(i))
						woken.Add(1)
					}()
				}
			}
			before := rapid.IntRange(0, 3*perRope*ropes/2).Draw(r, "before")
			hang(before)
			synctest.Wait()
			if n := woken.Load(); n != 0 {
				t.Fatalf("%d of %d were woken by nothing", n, before)
			}
			meanwhile := rapid.IntRange(0, 3*perRope).Draw(r, "meanwhile")
			hang(meanwhile)
			b.Ring()
			hang(1)
			synctest.Wait()
			if n := woken.Load(); n != int64(before+meanwhile+1) {
				t.Fatalf("%d of %d were woken", n, before+meanwhile+1)
			}
		})
	})
}
