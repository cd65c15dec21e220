package accounts

import (
	"errors"
	"net/http"
	"strings"

	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/signing"
	"tempestd/internal/accounts/xrpc"
)

// State is how an account stands at its server.
type State uint8

// The states of an account.
const (
	Active State = iota
	Deactivated
	TakenDown
	Suspended
	Deleted    // the server says so
	Tombstoned // the owner has given up the DID
	NotFound   // neither the directory nor the server that it names knows the account
	NoServer   // its document names no server that can be called
	Inactive   // for another reason
)

func (s State) String() string {
	return [...]string{"active", "deactivated", "taken down", "suspended", "deleted", "tombstoned", "not found", "without a server", "inactive"}[s]
}

// Outcome is what every answer about an account has. Its State says something only without an error.
type Outcome struct {
	State  State
	Server string // the one that was asked last, "" for none
	Moved  bool   // the account was not where its document had said
}

// gone is the state that an error stands for.
func gone(err error) (State, bool) {
	switch {
	case errors.Is(err, identity.ErrTombstoned):
		return Tombstoned, true
	case errors.Is(err, identity.ErrNotFound):
		return NotFound, true
	}
	var refused *xrpc.Error
	if !errors.As(err, &refused) {
		return Active, false
	}
	switch refused.Name {
	case "RepoTakendown", "AccountTakedown":
		return TakenDown, true
	case "RepoSuspended", "AccountSuspended":
		return Suspended, true
	case "RepoDeactivated", "AccountDeactivated":
		return Deactivated, true
	case "RepoNotFound":
		return NotFound, true
	case "InvalidRequest", "NotFound":
		// Servers have no name of their own for it in com.atproto.repo.
		if message := strings.ToLower(refused.Message); strings.Contains(message, "could not find repo") || strings.Contains(message, "could not find account") {
			return NotFound, true
		}
	}
	return Active, false
}

// elsewhere reports whether an error is a reason to look whether the account has moved, or its key
// has changed.
func elsewhere(err error) bool {
	if _, ok := gone(err); ok || errors.Is(err, xrpc.ErrUnreachable) || errors.Is(err, signing.ErrSignature) {
		return true
	}
	var refused *xrpc.Error
	return errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusGone)
}

// stateOf is the state that com.atproto.sync.getRepoStatus names.
func stateOf(active bool, status string) State {
	if active {
		return Active
	}
	switch status {
	case "deactivated":
		return Deactivated
	case "takendown":
		return TakenDown
	case "suspended":
		return Suspended
	case "deleted":
		return Deleted
	}
	return Inactive
}
