package accounts

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Whatever a page holds, what it gives is what it says it is, and no more than is asked for.
func FuzzListPage(f *testing.F) {
	const did, collection = "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "app.bsky.feed.post"
	f.Add([]byte(`{"records":[{"uri":"at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3l","cid":"bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua","value":{}}],"cursor":"x"}`))
	f.Add([]byte(`{"records":[{"uri":"at://","value":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var p page
		if json.Unmarshal(body, &p) != nil {
			return
		}
		given := 0
		l := lister{client: New(Options{}), did: did, collection: collection, opt: ListOptions{Most: 3, Saw: func(string) {}}, yield: func(r Record) error {
			given++
			again, err := NewRecord(r.DID, r.Collection, r.RKey, r.CID.String(), r.JSON)
			if err != nil || string(again.JSON) != string(r.JSON) || r.DID != did || r.Collection != collection {
				t.Fatalf("%+v, %v", r, err)
			}
			return nil
		}}
		if _, err := l.page(p); err != nil || given > 3 || given != l.listing.Records {
			t.Fatalf("%d records, %+v, %v", given, l.listing, err)
		}
	})
}

func TestTimesInKeys(t *testing.T) {
	for key, want := range map[string]string{"3migo7fijwi2k": "2026-04-01", "2222222222222": "1970-01-01", "jzzzzzzzzzzzz": "2540-11-07",
		"kzzzzzzzzzzzz": "", "": "", "self": "", "3migo7fijwi2": "", "3migo7fijwi2k2": "", "3migo7fijwi21": "", "3MIGO7FIJWI2K": ""} {
		at, ok := KeyTime(key)
		if got := at.Format("2006-01-02"); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %v, %v, want %s", key, at, ok, want)
		}
	}
}

// tidOf is the key that a client makes at a time.
func tidOf(at time.Time) string {
	key := make([]byte, 13)
	for i, v := 12, uint64(at.UnixMicro())<<10; i >= 0; i, v = i-1, v>>5 {
		key[i] = "234567abcdefghijklmnopqrstuvwxyz"[v&31]
	}
	return string(key)
}

// The first old key ends a list that is in order. Where a newer key has followed an older one, what is
// asked for may still come.
func TestAListOutOfOrderIsReadToItsEnd(t *testing.T) {
	const did, collection = "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "app.bsky.feed.post"
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		minutes []int // before now
		given   int
		end     End
	}{
		"in order":     {[]int{1, 2, 3, 300, 301}, 3, EndOfTime},
		"out of order": {[]int{2, 1, 300, 3}, 4, EndOfList},
	} {
		var records []string
		for _, minutes := range c.minutes {
			key := tidOf(now.Add(-time.Duration(minutes) * time.Minute))
			records = append(records, fmt.Sprintf(`{"uri":"at://%s/%s/%s","cid":"bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua","value":{}}`, did, collection, key))
		}
		var p page
		if err := json.Unmarshal([]byte(`{"records":[`+strings.Join(records, ",")+`]}`), &p); err != nil {
			t.Fatal(err)
		}
		given := 0
		l := lister{client: New(Options{}), did: did, collection: collection, opt: ListOptions{Most: 9, Since: now.Add(-time.Hour), Saw: func(string) {}},
			yield: func(Record) error { given++; return nil }}
		if end, err := l.page(p); err != nil || end != c.end || given != c.given {
			t.Errorf("%s: %d records, %v, %v; want %d, %v", name, given, end, err, c.given, c.end)
		}
	}
}
