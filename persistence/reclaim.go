package persistence

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

const (
	// reclaimAt is how many deleted bytes make it worth to ask Badger for them: two files of its value log.
	reclaimAt = 64 << 20
	// discardRatio is how much of a value log file must be garbage to be rewritten. Retention deletes whole files' worth, which are not
	// rewritten but removed; what merging leaves is about half.
	discardRatio = 0.5
)

// reclaim gives the disk space of deleted blocks back. The caller holds maintaining.
//
// Deleting alone does not: Badger removes a value log file by what it counts as discarded there, and counts a deletion only when
// compaction meets it together with what it deletes. So the memtable, where the deletions are, is flushed, the LSM tree
// is compacted – it holds pointers only and is small –, and then the files are collected.
func (e *Embedded) reclaim(ctx context.Context) error {
	lsm, _ := e.db.Size() // compacting writes it anew before it removes what was there
	if err := e.space.checkReserve(uint64(lsm)); err != nil {
		return err
	}
	if err := e.flush(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := e.db.Flatten(1); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	e.garbage.Store(0)
	err := e.collectAll(ctx)
	return errors.Join(err, e.reserved.begin(e.badgerDir()))
}

// collectAll collects files until none is worth it.
func (e *Embedded) collectAll(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := e.space.checkReserve(vlogFileSize); err != nil {
			return err
		}
		err := e.collect()
		if errors.Is(err, badger.ErrNoRewrite) {
			return nil
		} else if err != nil {
			return fmt.Errorf("collect the value log: %w", err)
		}
		e.touch(residentAt) // it read a whole file
	}
	return ctx.Err()
}

// flush writes the memtable to disk. Badger refuses writes meanwhile; whoever wants to write waits at the gate.
func (e *Embedded) flush() error {
	e.gate.Lock()
	defer e.gate.Unlock()
	return e.flushGated()
}

// flushGated is flush for who has the gate whole. Badger offers no such call, but flushes before it drops a prefix that has a key.
func (e *Embedded) flushGated() error {
	key := []byte(sentinelKey)
	err := e.db.Update(func(txn *badger.Txn) error { return txn.Set(key, nil) })
	if err == nil {
		err = e.db.DropPrefix(key)
	}
	if err != nil {
		e.fail(err) // Badger may have lost track of its memtables
	}
	return err
}

// collect removes one file of the value log, after moving what is still needed of it. It has the gate whole, because Badger reads
// there what a concurrent write changes; a file is small, so that this is short.
func (e *Embedded) collect() error {
	e.gate.Lock()
	defer e.gate.Unlock()
	if e.sync {
		return e.db.RunValueLogGC(discardRatio)
	}
	// Without a sync at each write, what was moved must be on disk before the file that it came from is gone. Badger keeps a
	// collected file as long as an iterator is open.
	return e.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		if err := e.db.RunValueLogGC(discardRatio); err != nil {
			return err
		}
		if err := e.flushGated(); err != nil {
			return err
		}
		return e.db.Sync()
	})
}

// residentAt is how many bytes may be read and written in Badger's files before their pages are released.
const residentAt = 16 << 20

// touch counts bytes of mapped memory that were read or written.
func (e *Embedded) touch(size int) {
	if e.resident.Add(int64(size)) < residentAt {
		return
	}
	e.resident.Store(0)
	select {
	case e.touched <- struct{}{}:
	default: // asked for already
	}
}

// releasePages releases the mapped pages whenever enough of them were touched.
func (e *Embedded) releasePages(ctx context.Context) {
	// The kernel names a mapping by its file's real path.
	dir, err := filepath.EvalSymlinks(e.badgerDir())
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.touched:
			releaseResident(dir)
		}
	}
}
