package accounts

import "errors"

var (
	// ErrAnswer says that a server's answer is not what the method gives.
	ErrAnswer = errors.New("not the answer to what was asked")
	// ErrCID says that a record has another content than its CID says.
	ErrCID = errors.New("the CID is of another content")
	// ErrPath says that a record stands at another place than was asked for, or at none.
	ErrPath = errors.New("no path of what was asked for")
	// ErrBound says that a repository is larger than what is taken.
	ErrBound = errors.New("the repository is too large")
)
