package messages

import (
	"testing"
	"time"
)

// Each host has its own clock: only moments of the same known one can be subtracted.
func TestTimesOfTwoHostsAreNotSubtracted(t *testing.T) {
	at := func(host string, us int64) UpstreamTime { return UpstreamTime{Host: host, US: us} }
	if d, ok := at("a", 3_000_000).Sub(at("a", 1_000_000)); !ok || d != 2*time.Second {
		t.Errorf("one host: %v, %v", d, ok)
	}
	for _, pair := range [][2]UpstreamTime{{at("a", 3), at("b", 1)}, {at("a", 3), at("", 1)}, {at("", 3), at("", 1)}, {at("a", 3), at("a", 0)}, {at("a", 0), at("a", 1)}} {
		if d, ok := pair[0].Sub(pair[1]); ok {
			t.Errorf("%+v less %+v is %v", pair[0], pair[1], d)
		}
	}
}
