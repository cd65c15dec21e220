package embedded_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
)

var (
	powerImages = flag.Int("power.images", 4, "the most images of one power cut, per state of the directories")
	powerStride = flag.Int("power.stride", 60, "only one in so many power cuts")
)

// TestI1_I2_I3_EveryImageOfAPowerCut tries what a power cut can leave: each unsynced write dropped,
// kept or torn, in every combination. Every image opens, shows nothing that was not appended, has
// everything that was acknowledged under its ID, and goes on. The power is cut again while some of
// them are being opened. "make power" tries them all; the operations are those of appends, seals,
// trims, packing, marks, copies of the state, and the closing of the stream.
func TestI1_I2_I3_EveryImageOfAPowerCut(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprintf("interval=%s", interval), func(t *testing.T) {
			t.Parallel()
			opt := embedded.Options{SyncInterval: interval, SegmentBytes: 4 << 10}
			files, done := powerRun(t, opt)
			rnd := rand.New(rand.NewPCG(1, uint64(interval)))
			cuts, images, again := 0, 0, 0
			last := -1
			files.Images(0, *powerImages, rnd, func(ops int, image *memdisk.FS) {
				if ops%*powerStride != 0 {
					return
				}
				if ops != last {
					last = ops
					cuts++
				}
				least := acknowledged(done, ops)
				what := fmt.Sprintf("image %d, after %d operations", images, ops)
				if images++; images%31 == 0 {
					again += cutWhileOpening(t, what, image, opt, least, interval > 0, rnd)
				} else {
					checkAfterPowerCut(t, what, image, opt, least, interval > 0)
				}
				if t.Failed() {
					t.FailNow()
				}
			})
			t.Logf("%d operations, %d power cuts, %d images, and %d of a second power cut while they were opened", files.Ops(), cuts, images, again)
		})
	}
}

// cutWhileOpening opens the store after a power cut, and cuts the power again at every operation of
// that. It returns how many images it tried.
func cutWhileOpening(t *testing.T, what string, files *memdisk.FS, opt embedded.Options, least acked, mayLose bool, rnd *rand.Rand) (images int) {
	t.Helper()
	from := files.Ops()
	opt.Files = files
	opt.OnNotice = func(persistence.Notice) {}
	store, _ := openFeed(t, "/store", opt)
	opened := files.Ops()
	must(t, store.Close())
	files.Images(from, 4, rnd, func(ops int, image *memdisk.FS) {
		if ops <= opened {
			images++
			checkAfterPowerCut(t, fmt.Sprintf("%s, then after %d of %d", what, ops-from, opened-from), image, opt, least, mayLose)
		}
	})
	return images
}
