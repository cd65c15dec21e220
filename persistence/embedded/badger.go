package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

const (
	memTableSize = 256 << 10
	// valueThreshold is the size above which a value goes into the value log. It may be at most
	// about a seventh of the memtable size.
	valueThreshold = 32 << 10
	vlogFileSize   = 2 << 20
)

// badgerOptions are for a state of some kilobytes: small files, no caches, every change synced.
func badgerOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithLogger(newBadgerLog(log)).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(vlogFileSize).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumCompactors(2).
		WithCompression(0).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithBypassLockGuard(true) // lockDir takes the lock
}

// badgerLog passes Badger's messages to slog. Badger logs much, so its information messages become
// debug messages.
type badgerLog struct{ log *slog.Logger }

func newBadgerLog(log *slog.Logger) badger.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &badgerLog{log: log}
}

func (l *badgerLog) Errorf(format string, args ...any)   { l.put(slog.LevelError, format, args) }
func (l *badgerLog) Warningf(format string, args ...any) { l.put(slog.LevelWarn, format, args) }
func (l *badgerLog) Infof(format string, args ...any)    { l.put(slog.LevelDebug, format, args) }
func (l *badgerLog) Debugf(string, ...any)               {}

func (l *badgerLog) put(level slog.Level, format string, args []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
