package persistence

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

const (
	valueThreshold = 1 << 10  // larger values are in the value log
	vlogFileSize   = 32 << 20 // files of the value log; as much may be kept too long, and is reserved ahead
	memTableSize   = 4 << 20
)

// badgerOptions are chosen by measurement; the reasons stand in doc.go.
func badgerOptions(dir string, sync bool, log badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(sync).
		WithLogger(log).
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
		WithBypassLockGuard(true) // lockDir's is the one
}

// badgerLog hands Badger's messages to slog. Badger is talkative: what it calls information is debugging for us.
type badgerLog struct {
	log        *slog.Logger
	syncFailed func(error)
}

func newBadgerLog(log *slog.Logger, syncFailed func(error)) badger.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &badgerLog{log: log, syncFailed: syncFailed}
}

// syncFailure begins the message by which alone Badger tells that its value log could not be synced: the commit succeeds all the same.
const syncFailure = "Error while curlf sync"

func (l *badgerLog) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, syncFailure) {
		l.syncFailed(fmt.Errorf("sync the value log: %v", args))
	}
	l.put(slog.LevelError, format, args)
}

func (l *badgerLog) Warningf(format string, args ...any) { l.put(slog.LevelWarn, format, args) }
func (l *badgerLog) Infof(format string, args ...any)    { l.put(slog.LevelDebug, format, args) }
func (l *badgerLog) Debugf(string, ...any)               {}

func (l *badgerLog) put(level slog.Level, format string, args []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
