package persistence

import (
	"encoding/binary"
	"fmt"
)

// The store's keys. The first byte says what a key is about; a stream's blocks stand together, in order of their last entry.
const (
	metaPrefix       = 'm' // m<stream>: the stream's streamMeta
	blockPrefix      = 'b' // b<stream>\x00<ms><seq>: a block, by its last entry, big endian
	checkpointPrefix = 'c' // c<feed>: the cursor actor's checkpoint
	consumerPrefix   = 'n' // n<stream>\x00<name>: a named consumer's ConsumerState
	formatKey        = "v" // the version of the store's layout
	sentinelKey      = "f" // written and dropped to make Badger flush (reclaim.go)
)

const (
	maxNameLen = 64
	idLen      = 16
)

// checkName refuses what could not be a stream's key, a file name and a URL segment alike.
func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxNameLen
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '.' || c == '_' || c == '-'))
	}
	if !ok {
		return &ConfigError{Field: "stream", Err: ErrBadName,
			Message: fmt.Sprintf("is %.80q; accepted: 1 to %d of a-z 0-9 . _ -, starting with a letter or digit", name, maxNameLen)}
	}
	return nil
}

func metaKey(name string) []byte       { return append([]byte{metaPrefix}, name...) }
func checkpointKey(feed string) []byte { return append([]byte{checkpointPrefix}, feed...) }

// blockKeyPrefix is what the keys of a stream's blocks begin with.
func blockKeyPrefix(name string) []byte {
	return append(append([]byte{blockPrefix}, name...), 0)
}

// appendBlockKey appends the key of the block that ends with id.
func appendBlockKey(b, prefix []byte, id EntryID) []byte {
	b = append(b, prefix...)
	b = binary.BigEndian.AppendUint64(b, id.MS)
	return binary.BigEndian.AppendUint64(b, id.Seq)
}

// blockKeyID is the ID at the end of a block's key.
func blockKeyID(key []byte) EntryID {
	tail := key[len(key)-idLen:]
	return EntryID{MS: binary.BigEndian.Uint64(tail), Seq: binary.BigEndian.Uint64(tail[8:])}
}
