package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
	"tempestd/persistence"
)

// state is the data that the store keeps beside the streams, in Badger: the cursor actor's
// checkpoints, the named consumers, the ledgers of gaps, the register of streams. It is small, every change is synced,
// and losing it loses no entry. A copy of it is made from time to time (statecopy.go).
//
// Badger maps its files, so their disk space must be allocated before Badger writes to them
// (statefiles.go). Otherwise a full disk would kill the process. If there is not enough space, the
// database is not opened, and the state returns a *persistence.NoSpaceError until there is.
type state struct {
	store *Store
	dir   string
	own   bool // on the file system of the operating system; else in memory

	mu       sync.RWMutex // shared by the users of db, exclusive to open and close it
	db       *badger.DB
	closed   bool
	writing  sync.Mutex // one change at a time
	revision uint64     // of the newest change
	copied   uint64     // the revision of the last copy
	space    stateSpace
	mark     *stateMark
	known    map[string]known // the register as it was when the state was opened
	keeps    map[string]persistence.Retention
	reported bool
}

// The keys. The first byte is the kind of the key.
const (
	checkpointPrefix = 'c' // c<feed>: the cursor actor's checkpoint
	consumerPrefix   = 'n' // n<stream>\x00<name>: a named consumer
	gapPrefix        = 'g' // g<stream>\x00<id>: a row of a stream's ledger of gaps
	registerPrefix   = 'r' // r<stream>: the known end of a stream
	revisionKey      = "v" // the revision of the newest change
)

// A value is its CRC32C, the revision that it was written with, and the body.
const valueHead = 12

func encodeValue(revision uint64, body []byte) []byte {
	v := binary.LittleEndian.AppendUint64(make([]byte, 4, valueHead+len(body)), revision)
	v = append(v, body...)
	binary.LittleEndian.PutUint32(v, crc32.Checksum(v[4:], castagnoli()))
	return v
}

func decodeValue(v []byte) (revision uint64, body []byte, err error) {
	if len(v) < valueHead || binary.LittleEndian.Uint32(v) != crc32.Checksum(v[4:], castagnoli()) {
		return 0, nil, errors.New("a value's checksum does not match")
	}
	return binary.LittleEndian.Uint64(v[4:]), v[valueHead:], nil
}

func newState(s *Store, own bool) *state {
	return &state{store: s, dir: filepath.Join(s.dir, stateDir), own: own}
}

// open opens the database unless it is open. A damaged database is moved aside and rebuilt from the
// copy.
func (t *state) open() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.db != nil || t.closed {
		return nil
	}
	if err := t.mayOpen(); err != nil {
		return err
	}
	if err := t.space.makeRoom(t); err != nil {
		return err
	}
	copied := t.readCopy()
	if err := t.openMark(); err != nil {
		return err
	}
	fault := t.checkFiles()
	if fault == nil {
		fault = t.openDB()
		if persistence.Temporary(fault) {
			return fault
		}
	}
	lost := lostState{err: fault}
	if fault != nil {
		aside, err := t.setFilesAside()
		if err != nil {
			return err
		}
		lost.aside = aside
		if err := t.openDB(); err != nil {
			return fmt.Errorf("open the state in %s: %w", t.dir, err)
		}
	}
	if err := t.restore(copied, &lost); err != nil {
		return err
	}
	t.known, t.keeps = t.readRegister()
	if lost.err != nil && !t.reported {
		t.reported = true
		t.store.emit(persistence.StateLost{Aside: lost.aside, Consumers: lost.consumers, Err: lost.err})
	}
	return nil
}

// lostState is the damage of the state.
type lostState struct {
	err       error
	aside     string
	consumers []string
}

// openDB opens Badger. A panic of Badger becomes an error.
func (t *state) openDB() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the database cannot be opened: %v", r)
		}
	}()
	opt := badgerOptions(t.dir, t.store.opt.Logger)
	if !t.own {
		opt = badgerOptions("", t.store.opt.Logger).WithInMemory(true).WithNumCompactors(0)
	}
	db, err := badger.Open(opt)
	if err != nil {
		if isFull(err) {
			return t.store.failure(err)
		}
		return fmt.Errorf("the database cannot be opened: %w", err)
	}
	if t.own {
		if err := t.space.begin(t); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	t.db = db
	return nil
}

// use returns the database. It stays open until release is called.
func (t *state) use() (db *badger.DB, release func(), err error) {
	t.mu.RLock()
	if t.db == nil {
		t.mu.RUnlock()
		if err := t.open(); err != nil {
			return nil, nil, err
		}
		t.mu.RLock()
	}
	if t.db == nil {
		t.mu.RUnlock()
		return nil, nil, persistence.ErrStoreClosed
	}
	return t.db, t.mu.RUnlock, nil
}

// get returns the body under a key, nil if there is none.
func (t *state) get(key []byte) ([]byte, error) {
	db, release, err := t.use()
	if err != nil {
		return nil, err
	}
	defer release()
	var body []byte
	err = db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			_, b, err := decodeValue(v)
			body = slices.Clone(b)
			return err
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	return body, err
}

// each calls visit for all keys that begin with prefix, in order.
func (t *state) each(prefix []byte, visit func(key, body []byte) error) error {
	db, release, err := t.use()
	if err != nil {
		return err
	}
	defer release()
	return eachIn(db, prefix, func(key []byte, _ uint64, body []byte) error { return visit(key, body) })
}

func eachIn(db *badger.DB, prefix []byte, visit func(key []byte, revision uint64, body []byte) error) error {
	return db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			err := it.Item().Value(func(v []byte) error {
				revision, body, err := decodeValue(v)
				if err != nil {
					return err
				}
				return visit(it.Item().Key(), revision, body)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// change is a new body under a key; nil deletes the key.
type change struct{ key, body []byte }

// put stores body under the key durably; nil deletes the key.
func (t *state) put(key, body []byte) error { return t.putAll(change{key, body}) }

// putAll makes the changes, in one transaction. It returns badger.ErrTxnTooBig, and changes nothing,
// if they are too many or too large for one.
func (t *state) putAll(changes ...change) error {
	db, release, err := t.use()
	if err != nil {
		return err
	}
	defer release()
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.own {
		largest := 0
		for _, c := range changes {
			largest = max(largest, len(c.key)+len(c.body))
		}
		if err := t.space.ensure(largest); err != nil {
			return t.store.failure(fmt.Errorf("write the state: %w", err))
		}
	}
	revision := t.revision + 1
	err = db.Update(func(txn *badger.Txn) error {
		if err := txn.Set([]byte(revisionKey), encodeValue(revision, nil)); err != nil {
			return err
		}
		for _, c := range changes {
			err := error(nil)
			if c.body == nil {
				err = txn.Delete(c.key)
			} else {
				err = txn.Set(c.key, encodeValue(revision, c.body))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, badger.ErrTxnTooBig) {
		return err
	}
	if err != nil {
		return t.store.failure(fmt.Errorf("write the state: %w", err))
	}
	t.revision = revision
	t.mark.write(revision)
	return nil
}

// close closes the database. It needs no disk space: if there is not enough, the log, which is
// synced, stays as it is.
func (t *state) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	db := t.db
	t.db = nil
	if db == nil {
		return t.mark.close()
	}
	err := t.space.end(t, db)
	return errors.Join(err, t.mark.close())
}

// readRegister reads the known ends of the streams, and what each of them keeps.
func (t *state) readRegister() (ends map[string]known, keeps map[string]persistence.Retention) {
	ends, keeps = make(map[string]known), make(map[string]persistence.Retention)
	_ = eachIn(t.db, []byte{registerPrefix}, func(key []byte, _ uint64, body []byte) error {
		var r registered
		if err := json.Unmarshal(body, &r); err == nil {
			ends[string(key[1:])] = known{last: r.Last, oldest: r.Oldest, entries: r.Entries, bytes: r.Bytes}
			keeps[string(key[1:])] = r.Retention
		}
		return nil
	})
	return ends, keeps
}

// registered is a stream's entry in the register.
type registered struct {
	Last   EntryID `json:"last"`
	Oldest EntryID `json:"oldest"`
	// Ever appended. A stream that has lost everything continues to count from here.
	Entries uint64 `json:"entries,omitempty"`
	Bytes   uint64 `json:"bytes,omitempty"`
	// What the stream keeps. So a stream keeps that also when no feed opens it any more.
	Retention persistence.Retention `json:"retention,omitzero"`
}

// register returns what the state knows of the streams; nothing if it is not open.
func (t *state) register() (map[string]known, map[string]persistence.Retention) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.known, t.keeps
}

// saveRegister stores the streams' ends if they have moved. When the process ends, errors are not
// reported. It does nothing while the disk is nearly full.
func (s *Store) saveRegister(ending bool) {
	if s.state.store.space.check(0) != nil {
		return
	}
	for _, st := range s.all() {
		m := &st.tip.Load().meta
		now := registered{Last: m.end.Last, Oldest: m.oldest, Entries: m.end.Entries, Bytes: m.end.Bytes, Retention: *st.retention.Load()}
		if st.registered == now || now.Last.IsZero() && m.lost != nil {
			continue
		}
		body, err := json.Marshal(now)
		if err == nil {
			err = s.state.put(append([]byte{registerPrefix}, st.name...), body)
		}
		if err == nil {
			st.registered = now
		} else if !ending && !persistence.Temporary(err) {
			s.emit(persistence.MaintenanceFailed{Stream: st.name, Err: err})
		}
	}
}

func decodeCheckpoint(b []byte) (*messages.Checkpoint, error) {
	cp := new(messages.Checkpoint)
	if err := json.Unmarshal(b, cp); err != nil {
		return nil, err
	}
	return cp, nil
}

// consumerNames returns the names of the consumers among the keys, as "stream/name".
func consumerNames(keys []string) (names []string) {
	for _, key := range keys {
		if stream, name, ok := strings.Cut(key[1:], "\x00"); ok && key[0] == consumerPrefix {
			names = append(names, stream+"/"+name)
		}
	}
	slices.Sort(names)
	return names
}
