package archive

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

const goodPage = `{"sealedTipSeq":90000,"plannedThroughSeq":90000,"segments":[` +
	`{"name":"seg_0000000003.jss","index":3,"checksum":"00c51e3e2c8fb641","minSeq":900,"maxSeq":50000,"mode":"blocks","blocks":[{"first":0,"last":1},{"first":7,"last":7}]},` +
	`{"name":"seg_0000000004.jss","index":4,"checksum":"1fc51e3e2c8fb641","minSeq":50001,"maxSeq":99000,"mode":"segment"}],"stats":{"entries":3}}`

func TestAPageOfAPlan(t *testing.T) {
	p, err := parsePage([]byte(goodPage), 1000, 90000)
	if err != nil || p.through != 90000 || p.tip != 90000 || p.entries != 3 || len(p.units) != 2 || p.units[0].count() != 3 || !p.units[1].whole {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err := parsePage([]byte(`{"sealedTipSeq":0,"plannedThroughSeq":0,"segments":[]}`), 0, 0); err != nil || p.tip != 0 {
		t.Errorf("an empty archive: %+v, %v", p, err)
	}
	for old, c := range map[string]struct {
		now  string
		kind error
	}{
		`"plannedThroughSeq":90000`:            {`"plannedThroughSeq":1000`, ErrStuck},
		`"sealedTipSeq":90000,`:                {``, ErrBadAnswer},
		`"index":3`:                            {`"index":5`, ErrBadAnswer},
		`seg_0000000003.jss`:                   {`../etc/passwd`, ErrBadAnswer},
		`00c51e3e2c8fb641`:                     {`"`, ErrBadAnswer},
		`1fc51e3e2c8fb641`:                     {`1FC51E3E2C8FB641`, ErrBadAnswer},
		`"minSeq":50001`:                       {`"minSeq":50000`, ErrBadAnswer},
		`"minSeq":900,`:                        {`"minSeq":50001,`, ErrBadAnswer},
		`"mode":"segment"`:                     {`"mode":"some"`, ErrBadAnswer},
		`{"first":7,"last":7}`:                 {`{"first":1,"last":7}`, ErrBadAnswer},
		`{"first":7,"last":7}]`:                {`{"first":7,"last":2147483647}]`, ErrBadAnswer},
		`[{"first":0,"last":1},{"first":7,"la`: {`[{"first":-1,"last":1},{"first":7,"la`, ErrBadAnswer},
		`"minSeq":900`:                         {`"minSeq":-1`, ErrBadAnswer},
		`"segments":[`:                         {`"segments":[{},`, ErrBadAnswer},
		`{"sealedTipSeq"`:                      {`[{"sealedTipSeq"`, ErrBadAnswer},
	} {
		if p, err := parsePage([]byte(strings.Replace(goodPage, old, c.now, 1)), 1000, 90000); !errors.Is(err, c.kind) {
			t.Errorf("%s in place of %s: %+v, %v", c.now, old, p, err)
		}
	}
}

// A short answer must not become a lot of memory.
func TestListsAreBounded(t *testing.T) {
	many := strings.Repeat("{},", 1<<20)
	blocks := `{"sealedTipSeq":5,"plannedThroughSeq":5,"segments":[{"name":"seg_0000000003.jss","blocks":[` + strings.Repeat(`{"first":0},`, 2) + many + `{}]}]}`
	for _, body := range []string{blocks, `{"segments":[` + many + `{}]}`} {
		if _, err := parsePage([]byte(body), 0, 0); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%v", err)
		}
	}
	good := strings.TrimSuffix(goodList[strings.Index(goodList, "{\"name"):], "]}")
	if _, _, err := parseList([]byte(`{"segments":[`+strings.Repeat(good+",", 1001)+good+`]}`), -1); !errors.Is(err, ErrBadAnswer) || !strings.Contains(err.Error(), "more than 1000") {
		t.Errorf("%v", err)
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add([]byte(goodPage), uint64(1000), uint64(90000))
	f.Add([]byte(`{"sealedTipSeq":0,"plannedThroughSeq":0,"segments":[]}`), uint64(0), uint64(0))
	f.Add([]byte(`{"sealedTipSeq":1e3,"plannedThroughSeq":-1,"segments":null}`), uint64(5), uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, after, before uint64) {
		p, err := parsePage(body, after, before)
		if err != nil {
			return
		}
		if p.tip > after && p.through <= after || before > 0 && (p.tip > before || p.through > before) {
			t.Errorf("after %d, before %d: %+v", after, before, p)
		}
		for i := range p.units {
			u := &p.units[i]
			if u.min > u.max || i > 0 && (u.min <= p.units[i-1].max || u.name <= p.units[i-1].name) || !u.whole && u.count() < 1 {
				t.Errorf("%+v", u)
			}
		}
	})
}

const goodList = `{"cursor":"2","segments":[{"name":"seg_0000000000.jss","index":0,"sizeBytes":10,"checksum":"00c51e3e2c8fb641","eventCount":5,"minSeq":1,"maxSeq":9,"minWitnessedAt":1,"maxWitnessedAt":2},` +
	`{"name":"seg_0000000001.jss","index":1,"sizeBytes":10,"checksum":"00c51e3e2c8fb642","eventCount":5,"minSeq":10,"maxSeq":19,"minWitnessedAt":2,"maxWitnessedAt":3}]}`

func TestAPageOfTheList(t *testing.T) {
	all, cursor, err := parseList([]byte(goodList), -1)
	if err != nil || len(all) != 2 || cursor != "2" {
		t.Fatalf("%+v, %q, %v", all, cursor, err)
	}
	if _, _, err := parseList([]byte(goodList), 0); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("a page that goes back: %v", err)
	}
	for old, now := range map[string]string{`"minSeq":1,`: `"minSeq":11,`, `"index":1`: `"index":0`, `"sizeBytes":10`: `"sizeBytes":-1`, `8fb642`: `8fb64`, `"segments":`: `"segments":7,"x":`} {
		if all, _, err := parseList([]byte(strings.Replace(goodList, old, now, 1)), -1); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%s: %+v, %v", now, all, err)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte(goodList), int64(-1))
	f.Add([]byte(`{"segments":[]}`), int64(7))
	f.Fuzz(func(t *testing.T, body []byte, prev int64) {
		all, _, err := parseList(body, prev)
		if err != nil {
			return
		}
		for _, g := range all {
			if int64(g.Index) <= prev || g.MinSeq > g.MaxSeq || g.SizeBytes < 0 {
				t.Errorf("%+v after %d", g, prev)
			}
			prev = int64(g.Index)
		}
	})
}

func FuzzParsePoint(f *testing.F) {
	f.Add(Point{Host: "x", Instance: Instance{Segment: "seg_0000000000.jss", MinSeq: 1}, Sealed: 9, Planned: 4, Seq: 5, Segment: "seg_0000000001.jss", Block: 3}.Text())
	f.Add([]byte(`{"sealed":1,"seq":2}`))
	f.Add([]byte(`{"block":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePoint(text)
		if err != nil {
			if !errors.Is(err, ErrBadSweep) {
				t.Errorf("%v", err)
			}
			return
		}
		if again, err := ParsePoint(p.Text()); err != nil || again != p {
			t.Errorf("%+v is written %s, which is %+v, %v", p, p.Text(), again, err)
		}
		if !json.Valid(p.Text()) {
			t.Errorf("%q", p.Text())
		}
	})
}

func TestWhenToAskAgain(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	ahead := now.Add(10 * time.Minute) // the server's clock
	date := func(t time.Time) string { return t.Format(http.TimeFormat) }
	for _, c := range []struct {
		name   string
		header http.Header
		want   time.Duration // 0: it does not say
	}{
		{"nothing", http.Header{}, 0},
		{"seconds", http.Header{"Retry-After": {"21600"}}, 6 * time.Hour},
		{"a date", http.Header{"Retry-After": {date(now.Add(6 * time.Hour))}}, 6 * time.Hour},
		{"a date on the server's clock", http.Header{"Date": {date(ahead)}, "Retry-After": {date(ahead.Add(time.Hour))}}, time.Hour},
		{"a reset", http.Header{"Ratelimit-Reset": {"1795975200"}}, 6 * time.Hour},
		{"a reset in seconds from now", http.Header{"Ratelimit-Reset": {"60"}}, time.Minute},
		{"the later one", http.Header{"Retry-After": {"1"}, "Ratelimit-Reset": {"60"}}, time.Minute},
		{"a week", http.Header{"Retry-After": {"604800"}}, 7 * 24 * time.Hour},
		{"nonsense", http.Header{"Retry-After": {"soon"}, "Ratelimit-Reset": {"-4"}}, 0},
	} {
		until := askAgain(c.header, now)
		if got := until.Sub(now); c.want == 0 && !until.IsZero() || c.want > 0 && got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if until := askAgain(http.Header{"Retry-After": {"18446744073709551615"}}, now); until.Before(now.Add(100 * 365 * 24 * time.Hour)) {
		t.Errorf("as long as can be said: %v", until)
	}
}

// A compaction, and a server that drops its oldest segments, look like the same server; a rebuilt one
// does not.
func TestWhatAnInstanceMayBecome(t *testing.T) {
	was := Instance{"seg_0000000000.jss", "00c51e3e2c8fb641", 1, 100, 1000, 2000}
	for name, c := range map[string]struct {
		now  Instance
		want bool
	}{
		"the same":     {was, true},
		"compacted":    {Instance{was.Segment, "10c51e3e2c8fb641", 2, 99, 1001, 1990}, true},
		"dropped":      {Instance{"seg_0000000007.jss", "10c51e3e2c8fb641", 700, 800, 7000, 8000}, true},
		"rebuilt":      {Instance{was.Segment, "10c51e3e2c8fb641", 1, 100, 9000, 9500}, false},
		"lower":        {Instance{was.Segment, "10c51e3e2c8fb641", 1, 90, 900, 1900}, false},
		"another":      {Instance{"seg_0000000001.jss", "10c51e3e2c8fb641", 50, 150, 1500, 2500}, false},
		"nothing left": {Instance{}, false},
	} {
		if got := was.MayBecome(c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !(Instance{}).MayBecome(was) {
		t.Error("what was unknown may be anything")
	}
}
