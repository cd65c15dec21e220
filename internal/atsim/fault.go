package atsim

import (
	"fmt"
	"slices"
	"time"
)

// The names of the faults.
const (
	FaultRateLimit   = "rate-limit"
	FaultRetryAfter  = "retry-after"
	FaultServerError = "server-error"
	FaultSlowBody    = "slow-body"
	FaultCutBody     = "cut-body"
	FaultLargeBody   = "large-body"
	FaultNotJSON     = "not-json"
	FaultRedirect    = "redirect-inside"

	FaultMoved       = "moved"
	FaultTombstoned  = "tombstoned"
	FaultDeactivated = "deactivated"
	FaultTakenDown   = "taken-down"
	FaultSuspended   = "suspended"
	FaultNotFound    = "not-found"
	FaultNoServer    = "no-server"
	FaultBadDocument = "bad-document"

	FaultEmptyPage      = "empty-page"
	FaultRepeatedCursor = "repeated-cursor"
	FaultEndlessList    = "endless-list"
	FaultWrongCID       = "wrong-cid"
	FaultFloat          = "float"
	FaultForeignPath    = "foreign-path"

	FaultWrongHash      = "wrong-hash"
	FaultTruncatedCAR   = "truncated-car"
	FaultCyclicTree     = "cyclic-tree"
	FaultDeepTree       = "deep-tree"
	FaultMissingBlock   = "missing-block"
	FaultWrongSignature = "wrong-signature"
	FaultOtherAccount   = "other-account"

	FaultExpiredToken   = "expired-token"
	FaultRefreshRefused = "refresh-refused"
	FaultLoginRefused   = "login-refused"
	FaultSecondFactor   = "second-factor"
	FaultEchoSecret     = "echo-secret"
	FaultOldTimeline    = "old-timeline"
	FaultEarlyEnd       = "early-end"
	FaultPlainRepost    = "plain-repost"
)

// FaultInfo describes a fault for help texts.
type FaultInfo struct {
	Name, Effect string
	Session      bool // it is of sessions and timelines
}

// Faults lists all faults.
func Faults() []FaultInfo {
	return []FaultInfo{
		{FaultRateLimit, "answer 429 with the RateLimit headers", false},
		{FaultRetryAfter, "answer 429 with Retry-After", false},
		{FaultServerError, "answer 503", false},
		{FaultSlowBody, "send half of a response, and the rest never", false},
		{FaultCutBody, "send half of a response and end the connection", false},
		{FaultLargeBody, "send a response without an end", false},
		{FaultNotJSON, "answer with a page for people", false},
		{FaultRedirect, "redirect to a service of the client's own machine", false},
		{FaultMoved, "have the account at another host, and the document say so", false},
		{FaultTombstoned, "have the DID given up, and the repository gone", false},
		{FaultDeactivated, "have the account deactivated", false},
		{FaultTakenDown, "have the account taken down", false},
		{FaultSuspended, "have the account suspended", false},
		{FaultNotFound, "not know the account at its host", false},
		{FaultNoServer, "name no server in the document", false},
		{FaultBadDocument, "answer with the document of another account", false},
		{FaultEmptyPage, "give an empty page with a cursor", false},
		{FaultRepeatedCursor, "give the cursor that was sent", false},
		{FaultEndlessList, "make up records and pages without an end", false},
		{FaultWrongCID, "give a record with the CID of another content", false},
		{FaultFloat, "give a record with a float in it", false},
		{FaultForeignPath, "give a record of another account", false},
		{FaultWrongHash, "change a byte of a block", false},
		{FaultTruncatedCAR, "end a repository in the middle of a block", false},
		{FaultCyclicTree, "send a tree with a node that leads to itself", false},
		{FaultDeepTree, "send a tree of a thousand layers", false},
		{FaultMissingBlock, "leave out a record", false},
		{FaultWrongSignature, "sign with another key", false},
		{FaultOtherAccount, "send the repository of another account", false},
		{FaultExpiredToken, "not take the token any more", true},
		{FaultRefreshRefused, "refuse to refresh", true},
		{FaultLoginRefused, "refuse to log in", true},
		{FaultSecondFactor, "ask for a second factor", true},
		{FaultEchoSecret, "repeat the secret in an error", true},
		{FaultOldTimeline, "not know since and startCursor", true},
		{FaultEarlyEnd, "end a timeline, or a list, before its end", true},
		{FaultPlainRepost, "show a repost without its URI", true},
	}
}

// Fault is a fault, and what it is for.
type Fault struct {
	Name   string
	Always bool          // otherwise it happens once
	DID    string        // the account, "" for all
	Method string        // such as "listRecords", "" for all
	For    time.Duration // how long a wait is that is asked for; 0 for 1 s
}

// Inject makes a fault happen.
func (s *Sim) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// InjectNamed makes a fault happen once, to whichever request it fits.
func (s *Sim) InjectNamed(fault string) error {
	if !slices.ContainsFunc(Faults(), func(f FaultInfo) bool { return f.Name == fault }) {
		return fmt.Errorf("there is no fault %.40q of accounts' servers", fault)
	}
	s.Inject(Fault{Name: fault})
	return nil
}

// Mend ends every fault that did not happen or happens always.
func (s *Sim) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// hit reports whether a fault happens to a request, and uses up one that happens once.
func (s *Sim) hit(name, did, method string) (Fault, bool) {
	f, ok := s.take(name, did, method)
	if ok {
		s.opt.Happened(f, did, method)
	}
	return f, ok
}

func (s *Sim) take(name, did, method string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Name != name || f.DID != "" && f.DID != did || f.Method != "" && f.Method != method {
			continue
		}
		if !f.Always {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		if f.For == 0 {
			f.For = time.Second
		}
		return f, true
	}
	return Fault{}, false
}
