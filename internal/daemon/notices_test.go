package daemon

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"tempestd/internal/observe"
	"tempestd/persistence"
)

func TestI9_EveryStoreEventIsOneOfTheCatalogue(t *testing.T) {
	id := persistence.EntryID{MS: 1, Seq: 2}
	tests := map[observe.Event]persistence.Notice{
		observe.StreamTrimmed:  persistence.StreamTrimmed{Stream: "sky", Trimmed: persistence.Trimmed{Entries: 1, Bytes: 2}},
		observe.StreamClosed:   persistence.StreamEnded{Stream: "sky", Reason: "done"},
		observe.StoreSpaceLow:  persistence.SpaceLow{NoSpaceError: &persistence.NoSpaceError{Dir: "d", Free: 1, Need: 2}},
		observe.StoreSpaceOK:   persistence.SpaceRecovered{Dir: "d", Free: 3},
		observe.StoreTruncated: persistence.LogTruncated{Truncation: persistence.Truncation{Stream: "sky", Expected: id}},
		observe.StoreCorrupt:   persistence.BlockCorrupt{CorruptError: &persistence.CorruptError{Stream: "sky", Block: id, Err: errors.New("bad")}},
		observe.StoreDamaged:   persistence.FileDamaged{Stream: "sky", File: "streams/sky/mark", Err: errors.New("bad")},
		observe.StoreStateLost: persistence.StateLost{Aside: "state.aside-1", Consumers: []string{"sky/a"}, Err: errors.New("bad")},
		observe.StoreWriteFail: persistence.WriteFailed{Stream: "sky", Err: errors.New("bad")},
		observe.StoreWriteOK:   persistence.WriteRecovered{Stream: "sky"},
		observe.StoreForeign:   persistence.ForeignEntry{Stream: "sky", ID: id},
		observe.StoreMaintFail: persistence.MaintenanceFailed{Stream: "sky", Err: errors.New("bad")},
	}
	for want, event := range tests {
		var log strings.Builder
		emitNotice(observe.New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), observe.NewMetrics(), observe.Strict()), event)
		if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), " event="+string(want)+" ") {
			t.Errorf("%T: %s", event, log.String())
		}
	}
}
