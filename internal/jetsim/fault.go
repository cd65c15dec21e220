package jetsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The names of the faults.
const (
	FaultClose    = "close"
	FaultEOF      = "eof"
	FaultReset    = "reset"
	FaultHalfOpen = "half-open"
	FaultStall    = "stall"
	FaultSlow     = "slow"
	FaultGarbage  = "garbage"
	FaultOversize = "oversize"
	FaultRefuse   = "refuse"
	FaultCrash    = "crash"
	FaultTooSlow  = "too-slow"
	FaultRotate   = "rotate"
	FaultForget   = "forget"
	FaultBlind    = "blind"

	FaultMigrate    = "migrate"
	FaultStale      = "stale"
	FaultClockAhead = "clock-ahead"
	FaultClockBack  = "clock-back"
)

// FaultInfo describes a fault for help texts.
type FaultInfo struct {
	Name    string
	Effect  string        // one line
	Default time.Duration // how long it lasts without For; 0 if it has no duration
	// Archive faults need Options.Archive.
	Archive bool
	// Next faults happen, without For, once: to the next answer that they fit.
	Next bool
}

// Faults lists all faults, the gentlest first.
func Faults() []FaultInfo {
	return append([]FaultInfo{
		{Name: FaultClose, Effect: "close every connection with code 1001"},
		{Name: FaultMigrate, Effect: "close the connections of one reader with code 1001; the others stay"},
		{Name: FaultStale, Effect: "have the next reader close its connections with code 1001 and answer 503", Default: 30 * time.Second},
		{Name: FaultTooSlow, Effect: "end every connection as one that does not keep up"},
		{Name: FaultRotate, Effect: "come back with a new zstd dictionary: close every connection with code 1001"},
		{Name: FaultEOF, Effect: "end every connection in the middle of a frame, without a close frame"},
		{Name: FaultReset, Effect: "reset every connection (RST)"},
		{Name: FaultStall, Effect: "send nothing on the connections there are, but answer pings", Default: 30 * time.Second},
		{Name: FaultSlow, Effect: "send on the connections there are at about 3 kB/s", Default: 10 * time.Second},
		{Name: FaultHalfOpen, Effect: "neither read nor write on the connections there are, and never close them"},
		{Name: FaultGarbage, Effect: "send invalid frames of every sort between the valid ones"},
		{Name: FaultOversize, Effect: "send one invalid frame of twice the subscriber's limit, at most 32 MiB"},
		{Name: FaultBlind, Effect: "see no Bluesky commits, only other noise, and catch up later", Default: 30 * time.Second},
		{Name: FaultClockAhead, Effect: "step the server's clock ahead by so much", Default: 10 * time.Minute},
		{Name: FaultClockBack, Effect: "step the server's clock back by so much", Default: 10 * time.Minute},
		{Name: FaultForget, Effect: "drop the older half of the history"},
		{Name: FaultRefuse, Effect: "end every connection and answer new ones 503 or 429 with Retry-After", Default: 3 * time.Second},
		{Name: FaultCrash, Effect: "die without a word, come back later and number the last events anew", Default: time.Second},
	}, archiveFaults()...)
}

// FaultNames lists the names that ParseFault accepts.
func FaultNames() []string {
	var names []string
	for _, f := range Faults() {
		names = append(names, f.Name)
	}
	return names
}

// Fault is a fault and the times at which it happens.
type Fault struct {
	Name string
	// After counts from the first frame that was sent to any subscriber. With Every and without
	// After, it is one period.
	After time.Duration
	// Every is the period of a repeated fault; 0 means once.
	Every time.Duration
	// For is how long the fault lasts; 0 means the fault's default.
	For time.Duration
}

// FaultSyntax is the syntax that ParseFault accepts, for help texts.
const FaultSyntax = "name[@after][/every][:for], as in crash@10s, eof/20s or stall@5s/1m:15s"

// ParseFault parses a fault in the syntax of FaultSyntax. Durations have Go's syntax and must be
// positive.
func ParseFault(s string) (Fault, error) {
	end := strings.IndexAny(s, "@/:")
	if end < 0 {
		end = len(s)
	}
	f := Fault{Name: s[:end]}
	if !slices.Contains(FaultNames(), f.Name) {
		return Fault{}, fmt.Errorf("fault %q: there is no fault %q; there are %s", s, f.Name, strings.Join(FaultNames(), ", "))
	}
	for last, rest := byte(0), s[end:]; rest != ""; {
		mark := rest[0]
		rest = rest[1:]
		end := strings.IndexAny(rest, "@/:")
		if end < 0 {
			end = len(rest)
		}
		if order := strings.IndexByte("@/:", mark); last != 0 && order <= strings.IndexByte("@/:", last) {
			return Fault{}, fmt.Errorf("fault %q: %q stands after %q; write %s", s, mark, last, FaultSyntax)
		}
		d, err := time.ParseDuration(rest[:end])
		if err != nil || d <= 0 {
			return Fault{}, fmt.Errorf("fault %q: %q is not a positive duration such as 500ms, 10s or 2m", s, rest[:end])
		}
		switch mark {
		case '@':
			f.After = d
		case '/':
			f.Every = d
		case ':':
			f.For = d
		}
		last, rest = mark, rest[end:]
	}
	return f, f.validate()
}

func (f Fault) validate() error {
	i := slices.Index(FaultNames(), f.Name)
	if i < 0 {
		return fmt.Errorf("there is no fault %q; there are %s", f.Name, strings.Join(FaultNames(), ", "))
	}
	if f.After < 0 || f.Every < 0 || f.For < 0 {
		return fmt.Errorf("fault %s: a duration is negative", f.Name)
	}
	if f.For > 0 && !f.lasts() {
		return fmt.Errorf("fault %s has no duration", f.Name)
	}
	return nil
}

// lasts reports whether the fault takes a duration.
func (f Fault) lasts() bool {
	return f.Name == FaultHalfOpen || f.info().Default > 0 || f.info().Next
}

func (f Fault) info() FaultInfo {
	all := Faults()
	return all[slices.IndexFunc(all, func(i FaultInfo) bool { return i.Name == f.Name })]
}

// duration is how long the fault lasts. It is 0 for a fault without a duration, and for a half-open
// connection that stays half-open until the server ends.
func (f Fault) duration() time.Duration {
	if f.For > 0 {
		return f.For
	}
	return f.info().Default
}

// String returns the fault in the syntax that ParseFault accepts.
func (f Fault) String() string {
	s := f.Name
	if f.After > 0 {
		s += "@" + f.After.String()
	}
	if f.Every > 0 {
		s += "/" + f.Every.String()
	}
	if f.For > 0 {
		s += ":" + f.For.String()
	}
	return s
}
