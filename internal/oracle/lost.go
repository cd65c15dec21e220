package oracle

import "tempestd/persistence/embedded/disk/memdisk"

// loseEnd ends everything at this moment, and the store loses what its disk had only said to have
// synced. What a daemon keeps elsewhere stays. Readers have seen entries that come again, so they
// begin again.
func (w *world) loseEnd() {
	w.disk.change(func() { w.disk.lies = nil })
	for _, n := range w.nodes {
		w.kill(n, memdisk.Dropped)
	}
	for _, r := range w.readers {
		r.stop()
	}
	if w.server != nil {
		_ = w.server.Store.Close()
		w.disk.files = w.disk.files.Crash(memdisk.Dropped, w.rnd, errDead)
		w.disk.arm()
		store, err := w.openStore(func() bool { return true })
		if err != nil {
			panic(err)
		}
		w.server.mu.Lock()
		w.server.Store, w.server.doubt.buf = store, nil
		w.server.mu.Unlock()
	}
	for _, n := range w.nodes {
		w.revive(n)
	}
	w.ledger.forget()
	w.readers = nil
	w.startReaders()
}
