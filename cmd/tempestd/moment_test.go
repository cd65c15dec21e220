package main

import (
	"testing"
	"time"
)

func TestMomentsAreReadAsPeopleWriteThem(t *testing.T) {
	zone := time.FixedZone("somewhere", 2*3600)
	now := time.Date(2026, 11, 1, 15, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"10m": "2026-11-01T15:20:00+02:00", "7d": "2026-10-25T15:30:00+02:00", "1d12h": "2026-10-31T03:30:00+02:00", "1w1d": "2026-10-24T15:30:00+02:00",
		"0s": "2026-11-01T15:30:00+02:00", "now": "2026-11-01T15:30:00+02:00", "today": "2026-11-01T00:00:00+02:00", "yesterday": "2026-10-31T00:00:00+02:00",
		"2026-10-30": "2026-10-30T00:00:00+02:00", "2026-10-30 07:08": "2026-10-30T07:08:00+02:00", "2026-10-30T07:08:09": "2026-10-30T07:08:09+02:00",
		"2026-10-30T07:08:09Z": "2026-10-30T07:08:09Z",
	} {
		if at, err := parseMoment(now, text); err != nil || at.Format(time.RFC3339) != want {
			t.Errorf("%s: %v %v, want %s", text, at.Format(time.RFC3339), err, want)
		}
	}
	for _, text := range []string{"", "10", "-1m", "d", "1d2d", "99999d", "70000d", "tomorrow", "2026-13-01", "1d-2h"} {
		if at, err := parseMoment(now, text); err == nil {
			t.Errorf("%q is accepted as %v", text, at)
		}
	}
}
