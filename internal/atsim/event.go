package atsim

import (
	"encoding/json"
	"fmt"
	"time"

	"tempestd/internal/archive/dagcbor"
)

// Event is what happened to an account.
type Event struct {
	DID  string
	Time time.Time // when an app view indexes it; zero for now
	// Kind is "commit", "account" or "identity"; "" for a commit.
	Kind string

	// Of a commit. An empty Rev is the next one that the clock gives.
	Rev, Operation, Collection, RKey string
	Record                           json.RawMessage // of a create and an update

	Active bool   // of an account event
	Status string // of one that is not active
	Handle string // of an identity event, "" for no change
}

// Apply brings the account to the state after an event. What the event deletes need not be there.
func (s *Sim) Apply(e Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.DID == "" {
		return fmt.Errorf("an event of no account")
	}
	a := s.account(e.DID)
	switch e.Kind {
	case "account":
		if a.status = e.Status; e.Active {
			a.status = ""
		}
		if a.status == "deleted" {
			clear(a.records)
			a.keys, a.built = nil, nil
		}
		return nil
	case "identity":
		if e.Handle != "" {
			delete(s.handles, a.handle)
			a.handle = e.Handle
			s.handles[e.Handle] = a.did
		}
		return nil
	case "", "commit":
	default:
		return nil // a sync changes nothing of what is held here
	}
	path := e.Collection + "/" + e.RKey
	switch e.Operation {
	case "delete":
		delete(a.records, path)
	case "create", "update":
		v, err := dagcbor.FromJSON(e.Record)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", e.DID, path, err)
		}
		a.records[path] = encode(v)
		s.show(e)
	default:
		return fmt.Errorf("%s/%s: the operation %q", e.DID, path, e.Operation)
	}
	a.keys, a.built = nil, nil
	if e.Rev == "" {
		e.Rev = tid(max(uint64(s.opt.Clock.Now().UnixMicro())<<10, tidNumber(a.rev)+1))
	}
	a.rev = max(a.rev, e.Rev) // an old event may come late
	return nil
}

// ApplyLine is Apply of an event as a Jetstream server sends it in the first protocol.
func (s *Sim) ApplyLine(line []byte) error {
	var v struct {
		DID    string
		TimeUS int64 `json:"time_us"`
		Kind   string
		Commit struct {
			Rev, Operation, Collection, RKey string
			Record                           json.RawMessage
		}
		Account struct {
			Active bool
			Status string
		}
		Identity struct{ Handle string }
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	return s.Apply(Event{DID: v.DID, Time: time.UnixMicro(v.TimeUS).UTC(), Kind: v.Kind,
		Rev: v.Commit.Rev, Operation: v.Commit.Operation, Collection: v.Commit.Collection, RKey: v.Commit.RKey, Record: v.Commit.Record,
		Active: v.Account.Active, Status: v.Account.Status, Handle: v.Identity.Handle})
}

const tidAlphabet = "234567abcdefghijklmnopqrstuvwxyz"

// tid is the text of a timestamp identifier.
func tid(v uint64) string {
	b := make([]byte, 0, 13)
	for shift := 60; shift >= 0; shift -= 5 {
		b = append(b, tidAlphabet[v>>shift&31])
	}
	return string(b)
}

// TID is the key that a client makes at a time, with the number of its clock.
func TID(at time.Time, clock uint64) string { return tid(uint64(at.UnixMicro())<<10 | clock&1023) }

func tidNumber(text string) (v uint64) {
	for i := range len(text) {
		for digit := range len(tidAlphabet) {
			if tidAlphabet[digit] == text[i] {
				v = v<<5 | uint64(digit)
			}
		}
	}
	return v
}
