package main

import (
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/observe"
	"tempestd/internal/version"
)

func (a *app) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run keeps the configured feeds connected, appends what they send to the store under data_dir, and
serves it over HTTP.

Without -c it reads ./config.toml, else /etc/tempestd/config.toml; without either it follows the
public network with the built-in defaults. It stays in the foreground and logs to standard error: a
service manager keeps it, and systemd is told when it is ready.

SIGINT or SIGTERM stop it gracefully: it stops reading, stores what was read, saves the
checkpoints and exits 0, within shutdown_timeout. A second one ends it at once; nothing that was
stored is lost by that, nor by kill -9.

SIGHUP reads the configuration again, like "tempestd reload": feeds are added, removed and changed
without losing an event, and those that did not change keep their connections. What needs a
restart is named in the log, and so is what is wrong with the file. In a terminal it means that
the terminal is gone, and stops the daemon.`,
		Example: `  tempestd run
  tempestd run -c /etc/tempestd/config.toml
  GOMEMLIMIT=256MiB tempestd run          # more memory for the collector's ease`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.daemonConfig()
			if err != nil {
				return err
			}
			level := new(slog.LevelVar)
			level.Set(cfg.Log.Level)
			logger, err := observe.NewLogger(a.err, level, cfg.Log.Format)
			if err != nil {
				return err
			}
			logger, recent := observe.Remember(logger)
			ctx, reload, stop := untilHangup(c.Context())
			defer stop()
			memory := memoryLimit{free: debug.SetMemoryLimit(-1) == math.MaxInt64}
			memory.set(cfg)
			clock := clockwork.NewRealClock()
			return daemon.Run(ctx, cfg, daemon.Options{
				Version:  version.This().Version,
				Observer: observe.New(logger, observe.NewMetrics(), observe.Quiet(clock)),
				Clock:    clock,
				Reload:   reload,
				Load:     a.daemonConfig,

				LogLevel:  level,
				RecentLog: recent.Text,
				Reloaded: func(cfg *config.Config) {
					level.Set(cfg.Log.Level)
					memory.set(cfg)
				},
			})
		},
	}
	a.configFlag(c)
	return c
}

// The parts of the soft memory limit.
const (
	memoryBase       = 64 << 20 // the store, HTTP, the runtime
	memoryPerBatch   = 2        // batch_bytes times this: the batch and its encoding
	memoryPerIndexed = 20       // bytes per entry of the dedupe horizon, during a replay
	memoryPerServed  = 2        // http.memory times this: what readers hold, and what was read to get there
)

// memoryLimit is the runtime's soft memory limit. free says that the environment has set none.
type memoryLimit struct{ free bool }

// set sets the limit, unless the environment has set it. The garbage
// collector works harder near the limit. The limit is above what all feeds can need at the same
// time, because below that the collector would run all the time. Without a limit the collector
// would let garbage grow to the size of the live heap.
func (m memoryLimit) set(cfg *config.Config) {
	if !m.free {
		return
	}
	limit := memoryBase + memoryPerServed*cfg.HTTP.Memory
	for _, f := range cfg.Feeds {
		limit += actors.Credits*memoryPerBatch*f.BatchBytes + memoryPerIndexed*int64(f.DedupeHorizon.Entries)
	}
	debug.SetMemoryLimit(limit)
}
