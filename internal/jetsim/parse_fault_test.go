package jetsim_test

import (
	"strings"
	"testing"
	"time"

	"tempestd/internal/jetsim"
)

func TestParseFault(t *testing.T) {
	for text, want := range map[string]jetsim.Fault{
		"close":           {Name: "close"},
		"crash@10s":       {Name: "crash", After: 10 * time.Second},
		"eof/20s":         {Name: "eof", Every: 20 * time.Second},
		"stall@5s/1m:15s": {Name: "stall", After: 5 * time.Second, Every: time.Minute, For: 15 * time.Second},
		"half-open:3s":    {Name: "half-open", For: 3 * time.Second},
	} {
		if f, err := jetsim.ParseFault(text); err != nil || f != want {
			t.Errorf("%q is %+v, %v", text, f, err)
		}
	}
	for text, want := range map[string]string{
		"explode":     "there is no fault \"explode\"; there are close, migrate",
		"":            "there is no fault \"\"",
		"stall@5":     `"5" is not a positive duration`,
		"stall@-5s":   `"-5s" is not a positive duration`,
		"stall@":      `"" is not a positive duration`,
		"close:5s":    "fault close has no duration",
		"stall:5s@1s": `'@' stands after ':'; write name[@after]`,
		"stall@1s@2s": `'@' stands after '@'`,
	} {
		if f, err := jetsim.ParseFault(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %+v, %v; want %s", text, f, err, want)
		}
	}
	for _, info := range jetsim.Faults() {
		if f, err := jetsim.ParseFault(info.Name); err != nil || f.Name != info.Name || info.Effect == "" {
			t.Errorf("%s: %+v, %v", info.Name, f, err)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	for _, seed := range []string{"close", "stall@5s/1m:15s", "half-open:3s", "crash@", "@/:", "eof//", "slow:9223372036s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := jetsim.ParseFault(text)
		if err != nil {
			return
		}
		if again, err := jetsim.ParseFault(fault.String()); err != nil || again != fault {
			t.Errorf("%q is %+v, written %q, which is %+v, %v", text, fault, fault, again, err)
		}
	})
}
