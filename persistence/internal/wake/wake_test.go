package wake

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// All goroutines that wait for a signal are woken, whenever they came, and none before it is sent.
func TestSignalWakesEveryone(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			var s Signal
			woken := new(atomic.Int64)
			wait := func(n int) {
				for i := range n {
					go func() {
						<-s.Wait(int64(i))
						woken.Add(1)
					}()
				}
			}
			before := rapid.IntRange(0, 3*perGroup*groups/2).Draw(r, "before")
			wait(before)
			synctest.Wait()
			if n := woken.Load(); n != 0 {
				t.Fatalf("%d of %d were woken by nothing", n, before)
			}
			meanwhile := rapid.IntRange(0, 3*perGroup).Draw(r, "meanwhile")
			wait(meanwhile)
			s.Send()
			wait(1)
			synctest.Wait()
			if n := woken.Load(); n != int64(before+meanwhile+1) {
				t.Fatalf("%d of %d were woken", n, before+meanwhile+1)
			}
		})
	})
}
