package persistence

import (
	"context"
	"time"
)

// What can be asked of a store that keeps files of its own. A store in a server has none: the
// server's own means are for that.
type (
	// Verifier looks at all that is stored while the store is in use. It changes nothing.
	Verifier interface {
		Verify(ctx context.Context, opt VerifyOptions) (Verified, error)
	}
	// Snapshotter gives what a backup is made of while the store is in use.
	Snapshotter interface {
		// Snapshot names the store's files as they are at one instant, which stay where they are
		// until release is called.
		Snapshot(ctx context.Context) (snapshot *Snapshot, release func(), err error)
	}
)

// VerifyOptions say what is looked at. Only Found is required.
type VerifyOptions struct {
	Stream         string               // "" for all of them, and what is beside them
	BytesPerSecond int64                // the most that is read in a second; 0 for no bound
	Found          func(Finding)        // is told of each thing that is wrong
	Progress       func(VerifyProgress) // is told after each segment; may be nil
}

// Finding is something that is wrong with a store's files.
type Finding struct {
	Stream string `json:"stream,omitempty"` // "" where it is no stream's
	File   string `json:"file"`             // below the store's directory
	Offset int64  `json:"offset"`           // in the file
	Length int64  `json:"length,omitempty"` // bytes from there on; 0 where it is all of the file, or not known
	Block  uint64 `json:"block,omitempty"`  // number of the first block that is concerned
	Fault  string `json:"fault"`            // what is wrong
	Remedy string `json:"remedy"`           // what a repair does, or the next start of the daemon
	Lost   *Loss  `json:"lost,omitempty"`   // the entries that are lost by it
}

// Loss is entries that were stored and are not there any more.
type Loss struct {
	First   EntryID   `json:"first"` // about the first one's ID: the next after the last that is there
	Last    EntryID   `json:"last"`
	Entries uint64    `json:"entries"` // 0 where it is not known how many
	From    time.Time `json:"from"`    // by the IDs
	To      time.Time `json:"to"`
	// AtEnd says that nothing of the stream follows: the upstream is asked for it again when the
	// daemon starts.
	AtEnd bool `json:"at_end,omitempty"`
}

// VerifyProgress is how far a verification is.
type VerifyProgress struct {
	Stream   string `json:"stream"`
	Segments int    `json:"segments"` // that were looked at
	Of       int    `json:"of"`       // segments there are to look at
	Bytes    int64  `json:"bytes"`    // that were read
	OfBytes  int64  `json:"of_bytes"` // that there are to read
}

// Verified is what was looked at.
type Verified struct {
	Streams  int    `json:"streams"`
	Segments int    `json:"segments"`
	Blocks   uint64 `json:"blocks"`
	Entries  uint64 `json:"entries"` // that are there
	Bytes    int64  `json:"bytes"`   // that were read
	Damaged  int    `json:"damaged"` // findings
	Lost     uint64 `json:"lost"`    // entries that are lost by what was found
	// KnownLost are entries that were lost before, as the segments say: readers are told of them,
	// and nothing is to be done.
	KnownLost uint64 `json:"known_lost"`
}

// Snapshot is what a store has on disk at one instant.
type Snapshot struct {
	Dir     string         `json:"dir"`     // the store's directory
	ID      uint64         `json:"id"`      // of the directory, by which another machine's of the same name is told from it
	Files   []SnapshotFile `json:"files"`   // in the order in which they are to be copied
	Streams []StreamInfo   `json:"streams"` // as they are in it
}

// SnapshotFile is one of a snapshot's files.
type SnapshotFile struct {
	Path    string `json:"path"`              // below the store's directory, with slashes
	Bytes   int64  `json:"bytes"`             // that belong to the snapshot; more may follow in a file that is written to
	Sealed  bool   `json:"sealed,omitempty"`  // nothing changes it any more
	Content []byte `json:"content,omitempty"` // of a small file, whatever is on the disk
}
