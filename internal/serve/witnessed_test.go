package serve_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// If an entry has the time at which its upstream witnessed it, v2 subscribers get that time, and a
// cursor that is a time uses it. v1 has no such member.
func TestWitnessedAtIsSentWhereTheStreamHasIt(t *testing.T) {
	const later = 10_000_000
	at := func(us int64) string { return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z") }
	plain := []string{event(firstUS, 1), event(firstUS+1, 2), event(firstUS+2, 3)}
	stored := append([]string(nil), plain...)
	stored[1] = strings.TrimSuffix(plain[1], "}") + `,"witnessedAt":"` + at(firstUS+later) + `"}`
	stored[2] = strings.TrimSuffix(plain[2], "}") + `,"witnessedAt":"` + at(firstUS+2*later) + `"}`

	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), stored...)
	d := start(t, storage)
	same(t, d.dial("/subscribe?cursor=0").read(3), plain)
	for i, frame := range d.dial(pathV2 + "?cursor=0").read(3) {
		want := ""
		if i > 0 {
			want = fmt.Sprintf(`,"witnessedAt":"%s"`, at(firstUS+int64(i)*later))
		}
		if end := fmt.Sprintf(`,"time":"%s"%s}}`, at(firstUS+int64(i)), want); !strings.HasSuffix(frame, end) {
			t.Errorf("frame %d is %s, which does not end in %s", i, frame, end)
		}
	}
	for cursor, from := range map[int64]int{firstUS: 0, firstUS + 1: 1, firstUS + later: 1, firstUS + later + 1: 2, firstUS + 2*later: 2} {
		if got := d.dial(fmt.Sprintf("/subscribe?cursor=%d", cursor)).read(1)[0]; got != plain[from] {
			t.Errorf("at %d it begins with %s, want %s", cursor, got, plain[from])
		}
	}
}
