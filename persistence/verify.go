package persistence

import (
	"context"
	"time"
)

// Interfaces of a store that keeps its own files. A store in a server has neither: the server has
// its own tools for this.
type (
	// Verifier checks everything that is stored while the store is in use. It changes nothing.
	Verifier interface {
		Verify(ctx context.Context, opt VerifyOptions) (Verified, error)
	}
	// Snapshotter names the data of a backup while the store is in use.
	Snapshotter interface {
		// Snapshot lists the store's files as they are at one instant. They stay in place until
		// release is called.
		Snapshot(ctx context.Context) (snapshot *Snapshot, release func(), err error)
	}
)

// VerifyOptions say what Verify checks. Only Found is required.
type VerifyOptions struct {
	Stream         string               // "" for all streams and the files beside them
	BytesPerSecond int64                // largest number of bytes read in a second; 0 for no bound
	Found          func(Finding)        // called for each fault
	Progress       func(VerifyProgress) // called after each segment; may be nil
}

// Finding is a fault in a store's files.
type Finding struct {
	Stream string `json:"stream,omitempty"` // "" if the file belongs to no stream
	File   string `json:"file"`             // relative to the store's directory
	Offset int64  `json:"offset"`           // in the file
	// Length is the number of bytes from Offset on; 0 for the whole file, or if not known.
	Length int64  `json:"length,omitempty"`
	Block  uint64 `json:"block,omitempty"` // number of the first block that is affected
	Fault  string `json:"fault"`           // what is wrong
	Remedy string `json:"remedy"`          // what a repair does about it, or the next start
	Lost   *Loss  `json:"lost,omitempty"`  // the entries that are lost by it
}

// Loss is a range of entries that were stored and no longer exist.
type Loss struct {
	// First is about the ID of the first lost entry: it is the next ID after the last entry that
	// exists.
	First   EntryID   `json:"first"`
	Last    EntryID   `json:"last"`
	Entries uint64    `json:"entries"` // 0 if the number is not known
	From    time.Time `json:"from"`    // from the IDs
	To      time.Time `json:"to"`
	// AtEnd says that no entry of the stream follows. Then the lost entries are fetched from the
	// upstream again when the daemon starts.
	AtEnd bool `json:"at_end,omitempty"`
}

// VerifyProgress is the progress of a verification.
type VerifyProgress struct {
	Stream   string `json:"stream"`
	Segments int    `json:"segments"` // checked so far
	Of       int    `json:"of"`       // segments to check
	Bytes    int64  `json:"bytes"`    // read so far
	OfBytes  int64  `json:"of_bytes"` // bytes to read
}

// Verified is the result of a verification.
type Verified struct {
	Streams  int    `json:"streams"`
	Segments int    `json:"segments"`
	Blocks   uint64 `json:"blocks"`
	Entries  uint64 `json:"entries"` // entries that exist
	Bytes    int64  `json:"bytes"`   // bytes read
	Damaged  int    `json:"damaged"` // number of findings
	Lost     uint64 `json:"lost"`    // entries that are lost by the findings
	// KnownLost are entries that were lost before and are recorded as lost in the segments. Readers
	// are told of them, and there is nothing to do.
	KnownLost uint64 `json:"known_lost"`
}

// Snapshot is a store's data on disk at one instant.
type Snapshot struct {
	Dir string `json:"dir"` // the store's directory
	// ID identifies the directory. It differs from the ID of a directory with the same path on
	// another machine.
	ID      uint64         `json:"id"`
	Files   []SnapshotFile `json:"files"`   // in the order in which they must be copied
	Streams []StreamInfo   `json:"streams"` // as they are in the snapshot
}

// SnapshotFile is one file of a snapshot.
type SnapshotFile struct {
	Path string `json:"path"` // relative to the store's directory, with slashes
	// Bytes is the number of bytes that belong to the snapshot. A file that is being written may
	// have more.
	Bytes  int64 `json:"bytes"`
	Sealed bool  `json:"sealed,omitempty"` // nothing changes it any more
	// Content is the content of a small file. It is used instead of the file on disk.
	Content []byte `json:"content,omitempty"`
}
