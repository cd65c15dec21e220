package config_test

import (
	"reflect"
	"testing"
	"time"

	"tempestd/internal/config"
)

func TestDiffNamesEveryKeyAndKeepsWhatNeedsARestart(t *testing.T) {
	was := config.Default()
	is := *was
	is.DataDir, is.ShutdownTimeout, is.HTTP.Token, is.Valkey.Database = "/elsewhere", time.Minute, config.NewSecret("another"), 3
	old := was.Feeds[0]
	changed, filtered, added := old, old, old
	changed.Repair.ArchiveKeys = map[string]config.Secret{"jetstream.us-east.bsky.network:443": config.NewSecret("key")}
	changed.ReplayWindow, changed.ReplayWindowAuto = time.Hour, false
	filtered.Name, filtered.Kinds, filtered.Retention.Age = "filtered", []string{"commit"}, time.Hour
	added.Name = "new"
	before := *was
	same, gone := old, old
	same.Name, gone.Name = "filtered", "gone"
	before.Feeds = []config.Feed{old, same, gone}
	is.Feeds = []config.Feed{changed, filtered, added}

	got, merged := config.Diff(&before, &is)
	want := config.Difference{
		Keys: []string{"shutdown_timeout"}, Restart: []string{"data_dir", "http.token", "valkey.database"},
		Added: []string{"new"}, Removed: []string{"gone"}, Anew: []string{"bluesky"}, Filtered: []string{"filtered"}, Kept: []string{"filtered"},
		FeedKeys: []string{"feeds.bluesky.replay_window", "feeds.bluesky.archive_keys", "feeds.filtered.kinds", "feeds.filtered.retention.age"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if merged.DataDir != was.DataDir || merged.HTTP.Token != was.HTTP.Token || merged.Valkey.Database != 0 || merged.ShutdownTimeout != time.Minute || len(merged.Feeds) != 3 {
		t.Errorf("in force would be %+v", merged)
	}
	if is.DataDir != "/elsewhere" {
		t.Error("the configuration that was read has changed")
	}
	if got, _ := config.Diff(was, config.Default()); !reflect.DeepEqual(got, config.Difference{}) {
		t.Errorf("a configuration differs from itself: %+v", got)
	}
}
