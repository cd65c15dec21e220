package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// bareSource gives a record that was made, and a delete that was found, without revs.
type bareSource struct{ compared []messages.EntryID }

func (s *bareSource) Name() messages.GapSource { return messages.SourceAccounts }

func (s *bareSource) Price(context.Context, backfill.Order) (backfill.Price, error) {
	return backfill.Price{}, nil
}

func (s *bareSource) Fetch(ctx context.Context, o backfill.Order, deliver backfill.Deliver) (backfill.Result, error) {
	records, err := o.Held.Records(ctx, []string{"did:plc:a"}, true)
	if err != nil {
		return backfill.Result{}, err
	}
	b := &messages.Batch{Compared: records.Compared()}
	s.compared = append(s.compared, b.Compared)
	for _, text := range []string{
		fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"commit","commit":{"operation":"create","collection":"app.bsky.feed.post","rkey":"3mbd354s2x2od","record":{},"cid":"c1"}}`, o.Row.FromUS+1),
		fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"commit","commit":{"operation":"delete","collection":"app.bsky.feed.post","rkey":"k5"}}`, o.Row.FromUS+2),
	} {
		e := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(text))}
		if err := jetstream.ScanRecord([]byte(text), &e); err != nil {
			return backfill.Result{}, err
		}
		b.Buf, b.Events = append(b.Buf, text...), append(b.Events, e)
	}
	if _, err := deliver(ctx, b, json.RawMessage(`{}`)); err != nil {
		return backfill.Result{}, err
	}
	return backfill.Result{Missing: "overtaken versions"}, nil
}

// put publishes the commit of a record.
func (u *upstream) put(rkey, rev, cid string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	us, seq := time.Now().UnixMicro(), int64(len(u.events)+1)
	u.events = append(u.events, upstreamEvent{seq: seq, timeUS: us, json: fmt.Appendf(nil,
		`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":%q,"operation":"update","collection":"app.bsky.feed.post","rkey":%q,"record":{},"cid":%q}}`, us, seq, rev, rkey, cid)})
	close(u.changed)
	u.changed = make(chan struct{})
}

// A record that a repair found is not stored again when its commit comes live, before or after a
// restart; another version of it is, and so is a record that is put back.
func TestI2_ARecordWithoutARevIsStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &bareSource{}
		r := newRig(t, func(r *rig) {
			r.sources = map[messages.GapSource]backfill.Source{source.Name(): source}
			repairing(r, config.GapsRepair, source.Name())
		})
		r.up.publish(20)
		r.after(time.Minute)
		r.away(10)
		r.after(time.Minute)
		row := r.row()
		if row.State != messages.GapRepaired || row.Recovered != 2 || row.Source != messages.SourceAccounts || row.Missing != "overtaken versions" {
			t.Fatalf("%+v", row)
		}
		count := func(part string) (n int) {
			for _, e := range r.store.all() {
				if bytes.Contains(e, []byte(part)) {
					n++
				}
			}
			return n
		}
		if mark := fmt.Sprintf(`"cid":"c1"},"repair":{"gap":%q,"source":"accounts"}}`, row.ID); count(mark) != 1 {
			t.Errorf("no record with %s", mark)
		}
		if mark := fmt.Sprintf(`"rkey":"k5"},"repair":{"gap":%q,"source":"accounts","time":"unknown"}}`, row.ID); count(mark) != 1 {
			t.Errorf("no delete with %s", mark)
		}
		const key = "3mbd354s2x2od"
		r.up.put(key, "3mbd354aaaaa2", "c1")
		r.after(time.Second)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.up.put(key, "3mbd354aaaaa3", "c1")
		r.after(time.Second)
		if n := count(key); n != 1 {
			t.Fatalf("it is stored %d times", n)
		}
		r.up.put(key, "3mbd354aaaaa4", "c2")
		r.up.put(key, "3mbd354aaaaa5", "c1")
		r.up.put(key, "3mbd354aaaaa3", "c1") // late
		r.after(time.Second)
		if n := count(key); n != 3 || count(`"c2"`) != 1 {
			t.Fatalf("it is stored %d times in all", n)
		}
	})
}
