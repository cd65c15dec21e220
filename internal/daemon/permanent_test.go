package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/observe"
)

// fail runs a daemon that cannot start and returns its error.
func fail(t *testing.T, cfg *config.Config) error {
	t.Helper()
	o := observe.New(slog.New(&events{}), observe.NewMetrics(), observe.Strict())
	err := daemon.Run(context.Background(), cfg, daemon.Options{Version: "test", Clock: clockwork.NewRealClock(), Observer: o})
	if err == nil {
		t.Fatal("it ran")
	}
	return err
}

// A restart would not help, so the error says what kind of help is needed.
func TestAFaultThatNoRestartMendsIsToldApart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	busy := configure(t.TempDir(), "ws://127.0.0.1:1")
	busy.HTTP.Listen = listener.Addr().String()
	if err := fail(t, busy); !errors.Is(err, daemon.ErrTaken) {
		t.Errorf("a busy port: %v", err)
	}

	newer := configure(t.TempDir(), "ws://127.0.0.1:1")
	store := filepath.Join(newer.DataDir, "store")
	if err := errors.Join(os.MkdirAll(store, 0o700), os.WriteFile(filepath.Join(store, "FORMAT"), []byte("tempestd store 99\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := fail(t, newer); !errors.Is(err, daemon.ErrVersion) {
		t.Errorf("a newer store: %v", err)
	}

	same := configure(t.TempDir(), "ws://127.0.0.1:1")
	d := start(t, same)
	defer d.finish(t)
	if err := fail(t, same); !errors.Is(err, daemon.ErrTaken) {
		t.Errorf("a data_dir in use: %v", err)
	}

	file := configure(t.TempDir(), "ws://127.0.0.1:1")
	if err := os.WriteFile(file.DataDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fail(t, file); errors.Is(err, daemon.ErrTaken) || errors.Is(err, daemon.ErrForbidden) {
		t.Errorf("another error: %v", err)
	}
}
