package demo

import (
	"time"

	"tempestd/internal/config"
)

// Name is the name of the demo's feed and stream.
const Name = "demo"

// configure returns the daemon's configuration: the defaults, but with shorter timeouts, because
// the upstream of a demo sends all the time.
func configure(dir string, upstream config.Endpoint) *config.Config {
	cfg := *config.Default()
	cfg.DataDir = dir
	cfg.HTTP.Listen = "127.0.0.1:0"
	cfg.Stream.MinFree = 64 << 20
	feed := cfg.Feeds[0]
	feed.Name = Name
	feed.Endpoints = []config.Endpoint{upstream}
	feed.Backoff = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second}
	feed.StaleAfter = 2 * time.Second
	feed.PingInterval = time.Second
	feed.CheckpointInterval = time.Second
	cfg.Feeds = []config.Feed{feed}
	return &cfg
}
