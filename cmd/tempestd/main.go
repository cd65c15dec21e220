package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := untilSignal(context.Background())
	code := execute(ctx, &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// signalled is the cause of a context that a signal ended.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "signal: " + s.String() }

// exitCode returns the exit code that shells expect of a process that the signal ended.
func (s signalled) exitCode() int {
	if n, ok := s.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitFailure
}

// untilSignal returns a context that ends at the first SIGINT or SIGTERM, so that the command stops
// in good order. The second signal ends the process at once.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for first := true; ; first = false {
			select {
			case s := <-signals:
				if !first {
					os.Exit(signalled{s}.exitCode())
				}
				cancel(signalled{s})
			case <-parent.Done():
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(signals) }
}

// untilHangup handles SIGHUP for a daemon. If standard input is a terminal, SIGHUP means the end of
// the terminal and ends ctx. Otherwise it is a request to read the configuration again. It ignores
// SIGPIPE, so that the daemon continues when the reader of its log is gone.
func untilHangup(parent context.Context) (ctx context.Context, reload <-chan os.Signal, stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	if isTerminal(os.Stdin) && !signal.Ignored(syscall.SIGHUP) {
		ctx, stop = signal.NotifyContext(parent, syscall.SIGHUP)
		return ctx, nil, stop
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	return parent, asked, func() { signal.Stop(asked) }
}
