// Package backup copies a store to a directory and back.
//
// A backup is a directory with the files of a snapshot (persistence.Snapshot), each under the
// SHA-256 of what is in it, and a manifest that names them:
//
//	MANIFEST          one line of JSON (Manifest), and one with its SHA-256
//	files/<sha256>    the files
//	LOCK              held by the process that writes the backup
//
// The manifest is written last, when all that it names is on the disk, and replaces the one before
// it in one step; then the files that no manifest names any more are removed. So a directory has
// the backup that was finished last, whole, whatever happens to the next one.
//
// A sealed segment never changes. One that is there already is kept: it is not even read again. One
// that is not is copied, or, where that is asked for and the file system can, a hard link. A link is
// the same bytes on the same disk: it outlives what retention and packing do, and no damage. The
// active segment is copied up to the last commit.
//
// A restore copies to a directory beside what will be, compares every byte with its checksum, opens
// the store there, compares its streams with the manifest, and then puts it in its place in one
// step. It never touches a data directory that holds anything.
//
//	manifest.go  the manifest
//	write.go     making a backup
//	source.go    what it is made of: a daemon's snapshot, or a store that nobody uses
//	restore.go   and back
package backup
