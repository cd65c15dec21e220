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

// signalled is why a context ended when a signal ended it.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "signal: " + s.String() }

// exitCode is what shells expect of a process that ended by the signal.
func (s signalled) exitCode() int {
	if n, ok := s.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitFailure
}

// untilSignal gives a context that the first SIGINT or SIGTERM ends, which is the order to end in good order. The second ends the process at
// once, whatever it is doing.
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

// untilHangup gives SIGHUP its meaning for a daemon: the end of its terminal, or a request to read its configuration anew. SIGPIPE, which says that the
// log's reader is gone, is no reason to stop.
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
