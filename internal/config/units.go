package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// day is the longest unit of a duration. It always has 24 hours, because durations have no time
// zone.
const day = 24 * time.Hour

// duration accepts strings such as "10s", "1h30m" or "7d", from least to most.
func duration(least, most time.Duration) kind[time.Duration] {
	want := fmt.Sprintf(`want a duration from %s to %s, in quotes and with its unit (ms, s, m, h, d), such as "90s" or "12h"`,
		showDuration(least), showDuration(most))
	return bounded(least, most, showDuration, scalar(want, func(v value) (time.Duration, bool) {
		d, err := parseDuration(v.text)
		return d, v.kind == unstable.String && err == nil && d >= least && d <= most
	}, showDuration))
}

// orAuto also accepts "auto", which becomes 0.
func orAuto(given kind[time.Duration]) kind[time.Duration] {
	want := `want "auto" or ` + given.want[len("want "):]
	auto := scalar(want, func(v value) (time.Duration, bool) {
		if v.kind == unstable.String && v.text == "auto" {
			return 0, true
		}
		d, bad := given.parse(nil, v)
		return d, bad == nil
	}, func(d time.Duration) string {
		if d == 0 {
			return `"auto"`
		}
		return showDuration(d)
	})
	auto.ends = given.ends
	return auto
}

var (
	durationPattern = regexp.MustCompile(`^(?:(\d{1,6}(?:\.\d{1,6})?)d)?((?:\d+(?:\.\d+)?(?:h|ms|m|s|us|µs))*)$`)
	sizePattern     = regexp.MustCompile(`^(\d{1,18}(?:\.\d{1,6})?) ?(B|[kK]B|[MGT]B|[KMGT]iB)$`)
)

// parseDuration is time.ParseDuration with days, but without signs and bare zeros.
func parseDuration(s string) (time.Duration, error) {
	parts := durationPattern.FindStringSubmatch(s)
	if parts == nil || s == "" {
		return 0, fmt.Errorf("%.40q is not a duration with a unit", s)
	}
	var total time.Duration
	if parts[1] != "" {
		days, err := strconv.ParseFloat(parts[1], 64)
		if err != nil || days > float64(math.MaxInt64/int64(day)) {
			return 0, fmt.Errorf("%.40q is too long a duration", s)
		}
		total = time.Duration(days * float64(day))
	}
	if parts[2] != "" {
		rest, err := time.ParseDuration(parts[2])
		if err != nil || rest > math.MaxInt64-total {
			return 0, fmt.Errorf("%.40q is too long a duration", s)
		}
		total += rest
	}
	return total, nil
}

// showDuration returns the shortest text that parseDuration reads as d.
func showDuration(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}}
	for _, u := range units {
		if d >= u.size && d%u.size == 0 {
			return fmt.Sprintf(`"%d%s"`, d/u.size, u.name)
		}
	}
	return strconv.Quote(d.String())
}

// size accepts strings such as "64MiB" or "20GB", from least to most bytes.
func size(least, most int64) kind[int64] {
	want := fmt.Sprintf(`want a size from %s to %s, in quotes and with its unit (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), such as "64MiB"`,
		showSize(least), showSize(most))
	return bounded(least, most, showSize, scalar(want, func(v value) (int64, bool) {
		n, err := parseSize(v.text)
		return n, v.kind == unstable.String && err == nil && n >= least && n <= most
	}, showSize))
}

// Sizes in bytes.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// parseSize parses a number and a unit. KiB is 1024 bytes, kB (or KB) is 1000.
func parseSize(s string) (int64, error) {
	parts := sizePattern.FindStringSubmatch(s)
	if parts == nil {
		return 0, fmt.Errorf("%.40q is not a size with a unit", s)
	}
	unit := map[string]int64{"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": kib, "MiB": mib, "GiB": gib, "TiB": tib}[parts[2]]
	if whole, err := strconv.ParseInt(parts[1], 10, 64); err == nil && whole <= math.MaxInt64/unit {
		return whole * unit, nil // exact, which a float is not
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || n*float64(unit) >= math.MaxInt64 {
		return 0, fmt.Errorf("%.40q is too great a size", s)
	}
	return int64(n * float64(unit)), nil
}

// showSize returns n as the smallest whole number of a binary unit.
func showSize(n int64) string {
	units := []struct {
		size int64
		name string
	}{{tib, "TiB"}, {gib, "GiB"}, {mib, "MiB"}, {kib, "KiB"}}
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf(`"%d%s"`, n/u.size, u.name)
		}
	}
	return fmt.Sprintf(`"%dB"`, n)
}

// orNone also accepts zero ("0s", "0B"), which sets no bound.
func orNone[T time.Duration | int64](zero string, of kind[T]) kind[T] {
	want := fmt.Sprintf("%s, or %s for no bound", of.want, zero)
	parse, show := of.parse, of.show
	none := scalar(want, func(v value) (T, bool) {
		if v.kind == unstable.String && strconv.Quote(v.text) == zero {
			return 0, true
		}
		t, bad := parse(nil, v)
		return t, bad == nil
	}, func(t T) string {
		if t == 0 {
			return zero
		}
		return show(t)
	})
	none.ends = of.ends
	return none
}
