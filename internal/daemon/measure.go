package daemon

import (
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// sizeEvery is how often the files of the store are looked at. There may be thousands.
const sizeEvery = time.Minute

// measuring updates the metrics of the disk and of the store under data_dir.
type measuring struct {
	mu    sync.Mutex
	sized time.Time
}

// measure is called for scrapes, one at a time. It never asks a server: watchStore does.
func (d *daemon) measure(store persistence.Store) {
	d.measuring.mu.Lock()
	defer d.measuring.mu.Unlock()
	m, cfg := d.observer.Metrics(), d.config()
	m.DiskMinFree.Set(float64(cfg.Stream.MinFree))
	if free, err := disk.OS().Free(cfg.DataDir); err == nil {
		m.DiskFree.Set(float64(free))
	}
	if !d.shared {
		d.storeUp(store.Health() == nil)
	}
	if now := d.clock.Now(); d.measuring.sized.IsZero() || now.Sub(d.measuring.sized) >= sizeEvery {
		d.measuring.sized = now
		m.StoreBytes.Set(float64(sizeOf(d.embeddedDir())))
	}
}

func (d *daemon) storeUp(up bool) {
	value := 0.0
	if up {
		value = 1
	}
	d.observer.Metrics().StoreUp.Set(value)
}

// sizeOf returns the bytes that the files below a directory take. What cannot be looked at counts as
// nothing.
func sizeOf(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // files come and go meanwhile
		}
		if info, err := entry.Info(); err == nil {
			sum += allocated(info)
		}
		return nil
	})
	return sum
}
