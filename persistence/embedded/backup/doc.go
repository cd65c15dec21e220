// Package backup copies a store to a directory and back.
//
// A backup is a directory with the files of a snapshot (persistence.Snapshot), each under the
// SHA-256 of its content, and a manifest that lists them:
//
//	MANIFEST          one line of JSON (Manifest), and one with its SHA-256
//	files/<sha256>    the files
//	LOCK              held by the process that writes the backup
//
// The manifest is written last, when all its files are on disk. It replaces the manifest before it
// in one step. Then the files that are no longer in the manifest are removed. So a directory always
// has the last finished backup, whole, whatever happens to the next one.
//
// A sealed segment never changes. If the backup already has it, it is kept and not read again. If
// not, it is copied, or, on request and if the file system can do it, hard-linked. A hard link is
// the same bytes on the same disk. It survives retention and packing, but not damage of the file.
// The active segment is copied up to the last commit.
//
// A restore first copies to a directory inside the data directory. It compares every byte with its
// checksum, opens the restored store, and compares the streams with the manifest. Then it moves the
// store into its place in one step. It never changes a data directory that already has content.
//
//	manifest.go  the manifest
//	write.go     making a backup
//	source.go    the files of a backup: of a daemon's snapshot, or of an unused store
//	restore.go   restoring a backup
package backup
