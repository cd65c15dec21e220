package supervisor_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// refusals are errors of a store that do not pass by themselves.
var refusals = map[string]error{
	"a failed store":   fmt.Errorf("append: %w: input/output error", errors.New("store failed and must be opened again")),
	"a corrupt block":  &persistence.CorruptError{Stream: feedName, Err: errors.New("checksum")},
	"a closed store":   persistence.ErrStoreClosed,
	"a server's words": errors.New("valkey at test: XPTO sorry, not today"),
}

// TestI2_WhatAStoreRefusesIsAState refuses every call of a feed's store for half an hour, with
// errors that we do not know. The feed shows the error and waits, and no actor fails. When the
// store works again, nothing is lost or doubled.
func TestI2_WhatAStoreRefusesIsAState(t *testing.T) {
	for name, refusal := range refusals {
		for call, begins := range map[string]observe.Event{"Append": observe.AppendFailed, "Appended": observe.AppendFailed, "Info": observe.AppendFailed,
			"Fingerprints": observe.AppendFailed, "Checkpoint": observe.CursorFailed, "LoadCheckpoint": observe.CursorFailed} {
			t.Run(name+"/"+call, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, nil)
					r.up.publish(10)
					r.after(10 * time.Second)
					switch call {
					case "Checkpoint", "LoadCheckpoint": // at a start
						if err := r.stop(); err != nil {
							t.Fatal(err)
						}
						r.store.refuse(call, refusal)
						r.start()
					case "Info", "Fingerprints": // at a reconnect
						r.store.refuse(call, refusal)
						r.up.last().fault <- errLost
					default:
						r.store.refuse(call, refusal)
					}
					r.up.publish(10)
					r.after(30 * time.Minute)
					s := r.status()
					if s.State != messages.StateBackpressured || !strings.Contains(s.Reason, "the store refuses: ") || !strings.Contains(s.Reason, refusal.Error()) {
						t.Errorf("the feed is %s (%s)", s.State, s.Reason)
					}
					if n := r.events(begins); n != 1 {
						t.Errorf("%s was told %d times\n%s", begins, n, r.log)
					}
					if n := r.up.dialCount(); n > 80 {
						t.Errorf("%d dials in half an hour", n)
					}
					r.wantNoFault()
					r.store.refuse(call, nil)
					r.after(2 * time.Minute)
					r.up.publish(10)
					r.after(time.Second)
					r.wantNoFault()
					r.wantState(messages.StateLive)
					r.wantExactlyPublished(0)
					if begins == observe.AppendFailed && r.events(observe.AppendFailed) != r.events(observe.AppendResumed) {
						t.Errorf("%d troubles, %d ends", r.events(observe.AppendFailed), r.events(observe.AppendResumed))
					}
				})
			})
		}
	}
}

// A feed shows the newest reason why its store refuses appends, not the first one. A full disk, whose
// free space changes all the time, is shown once.
func TestI9_TheReasonOfATroubleIsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(10 * time.Second)
		reason := func(err error) string {
			r.store.refuse("Append", err)
			r.up.publish(10)
			r.after(2 * time.Minute)
			return r.status().Reason
		}
		if got := reason(errors.New("XPTO first")); !strings.Contains(got, "XPTO first") {
			t.Errorf("at first: %s", got)
		}
		full := reason(&persistence.NoSpaceError{Dir: "/x", Free: 1 << 20, Need: 1000 << 20})
		if strings.Contains(full, "XPTO") {
			t.Errorf("on a full disk: %s", full)
		}
		if got := reason(&persistence.NoSpaceError{Dir: "/x", Free: 2 << 20, Need: 1000 << 20}); got != full {
			t.Errorf("on a full disk: %s, and then: %s", full, got)
		}
		if got := reason(errors.New("XPTO last")); !strings.Contains(got, "XPTO last") {
			t.Errorf("at last: %s", got)
		}
		r.store.refuse("Append", nil)
		r.after(2 * time.Minute)
		r.wantExactlyPublished(0)
	})
}

// A store that takes everything except our batch is not asked ever faster, and neither is the
// upstream.
func TestI2_AStoreThatRefusesOneBatchIsPatientlyAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(10 * time.Second)
		r.store.refuse("Append of events", errors.New("XPTO this one is not for me"))
		r.up.publish(10)
		r.after(time.Hour)
		if n := r.up.dialCount(); n > 130 {
			t.Errorf("%d dials in an hour", n)
		}
		if f, e := r.events(observe.AppendFailed), r.events(observe.AppendResumed); f > 2 || e != f-1 {
			t.Errorf("%d troubles and %d ends were told, want two at the most and one less", f, e)
		}
		r.wantState(messages.StateBackpressured)
		r.wantNoFault()
		r.store.refuse("Append of events", nil)
		r.after(2 * time.Minute)
		r.wantState(messages.StateLive)
		r.wantExactlyPublished(0)
	})
}

func TestACheckpointThatCannotBeSavedIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.store.refuse("SaveCheckpoint", errors.New("XPTO sorry"))
		for range 60 {
			r.up.publish(1)
			r.after(20 * time.Second)
		}
		if f, e := r.events(observe.CursorFailed), r.events(observe.CursorRecovered); f != 1 || e != 0 {
			t.Errorf("told %d times, and %d ends", f, e)
		}
		r.wantNoFault()
		r.store.refuse("SaveCheckpoint", nil)
		r.after(time.Minute)
		r.wantOnce(observe.CursorRecovered)
		r.wantExactlyPublished(0)
	})
}
