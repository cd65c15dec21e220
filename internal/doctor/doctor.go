package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/config"
	"tempestd/internal/plain"
)

// Level says how bad the result of a check is.
type Level string

// Levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // the daemon works, and something is unwise or unknown
	Failure Level = "failure" // the daemon cannot do its work, or not all of it
)

// Check is the result of one check. Its texts are one line each and have no secrets.
type Check struct {
	Name    string `json:"check"`             // for example "tls"
	Subject string `json:"subject,omitempty"` // what was looked at
	Level   Level  `json:"level"`
	Detail  string `json:"detail"`
}

// Report is the result of all checks.
type Report struct {
	OK     bool    `json:"ok"` // no check failed
	Checks []Check `json:"checks"`
}

// Count returns how many checks have a level.
func (r Report) Count(level Level) (n int) {
	for _, c := range r.Checks {
		if c.Level == level {
			n++
		}
	}
	return n
}

// Options say what is examined. Clock is required.
type Options struct {
	Clock     clockwork.Clock
	UserAgent string
	Timeout   time.Duration // of one question to a server, 0 for 10 s
	// Told is called with each result as it comes. It may be nil.
	Told func(Check)
	// TLS and Resolve change how servers are reached. They are nil, except in tests.
	TLS     *tls.Config
	Resolve func(ctx context.Context, host string) ([]string, error)
}

const defaultTimeout = 10 * time.Second

// examination is one run.
type examination struct {
	Options
	cfg    *config.Config
	report Report
}

// Examine checks a configuration, this machine and the servers that the configuration names. err is
// what is wrong with the configuration; then cfg is not used.
func Examine(ctx context.Context, cfg *config.Config, err error, opt Options) Report {
	opt.Timeout = cmp.Or(opt.Timeout, defaultTimeout)
	x := &examination{Options: opt, cfg: cfg, report: Report{OK: true}}
	if !x.configuration(err) {
		return x.report
	}
	x.files()
	x.disk()
	x.limits()
	x.port(ctx)
	if cfg.Stream.Backend == config.BackendValkey {
		x.valkey(ctx)
	}
	x.upstreams(ctx)
	return x.report
}

// tell adds a result.
func (x *examination) tell(name, subject string, level Level, format string, args ...any) {
	c := Check{name, plain.Line(subject), level, plain.Line(fmt.Sprintf(format, args...))}
	x.report.Checks = append(x.report.Checks, c)
	x.report.OK = x.report.OK && level != Failure
	if x.Told != nil {
		x.Told(c)
	}
}

// configuration reports what is wrong or unwise in the configuration. It returns false if there is
// nothing to go on with.
func (x *examination) configuration(err error) bool {
	const name = "configuration"
	if invalid, ok := errors.AsType[*config.Errors](err); ok {
		for _, e := range invalid.List {
			x.tell(name, e.File, Failure, "%v", e)
		}
		return false
	}
	if err != nil {
		x.tell(name, "", Failure, "%v", err)
		return false
	}
	subject := cmp.Or(x.cfg.Path, "built-in defaults")
	x.tell(name, subject, OK, "valid, %d feeds", len(x.cfg.Feeds))
	for _, e := range x.cfg.Unresolved {
		x.tell(name, subject, Warning, "%v: the daemon needs it, and may have it in its unit", e)
	}
	for _, e := range x.cfg.Warnings {
		x.tell(name, subject, Warning, "%v", e)
	}
	return true
}
