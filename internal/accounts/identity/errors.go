package identity

import "errors"

var (
	// ErrDID says that a text is no DID that can be looked up.
	ErrDID = errors.New("no did:plc and no did:web of a host")
	// ErrNotFound says that nobody knows the DID.
	ErrNotFound = errors.New("the DID is not known")
	// ErrTombstoned says that the account's owner has given up the DID.
	ErrTombstoned = errors.New("the DID is tombstoned")
	// ErrDocument is the kind of every error about a document that cannot be used.
	ErrDocument = errors.New("no document of the account")
	// ErrHandle is the kind of every error about a handle that leads to no account.
	ErrHandle = errors.New("the handle leads to no account")
)
