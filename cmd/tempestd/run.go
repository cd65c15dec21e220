package main

import (
	"math"
	"runtime/debug"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"tempestd/internal/daemon"
	"tempestd/internal/observe"
)

// memoryLimit is the heap size at which the garbage collector starts to work harder, unless GOMEMLIMIT says otherwise. The daemon needs
// about half of it; without a limit the collector would let garbage grow to as much again as is live.
const memoryLimit = 80 << 20

func (a *app) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run keeps the configured feeds connected, appends what they send to the store under data_dir, and
serves it over HTTP.

Without -c it reads ./config.toml, else /etc/tempestd/config.toml; without either it follows one
public feed with the built-in defaults. It stays in the foreground and logs to standard error: a
service manager keeps it, and systemd is told when it is ready.

SIGINT or SIGTERM stop it gracefully: it stops reading, stores what was read, saves the
checkpoints and exits 0, within shutdown_timeout. A second one ends it at once; nothing that was
stored is lost by that, nor by kill -9. The configuration is read at the start only. SIGHUP does
not reload it: it is ignored, or in a terminal, where it means that the terminal is gone, it stops
the daemon.`,
		Example: `  tempestd run
  tempestd run -c /etc/tempestd/config.toml
  GOMEMLIMIT=256MiB tempestd run          # more memory for the collector's ease`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			logger, err := observe.NewLogger(a.err, cfg.Log.Level, cfg.Log.Format)
			if err != nil {
				return err
			}
			ctx, stop := untilHangup(c.Context())
			defer stop()
			limitMemory()
			return daemon.Run(ctx, cfg, daemon.Options{
				Version:  thisBuild().Version,
				Observer: observe.New(logger, observe.NewMetrics()),
				Clock:    clockwork.NewRealClock(),
			})
		},
	}
	a.configFlag(c)
	return c
}

// limitMemory sets the soft memory limit where the environment did not.
func limitMemory() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryLimit)
	}
}
