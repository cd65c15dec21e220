package timeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/wholefile"
)

// Session is what an Account keeps across restarts. The zero Session is none.
type Session struct {
	DID, Server string
	// Access and Refresh are the tokens, empty while the account is not logged in.
	Access, Refresh config.Secret
	// Logins counts the logins since a refresh has worked, and NotBefore is when the next one may
	// be.
	Logins    int
	NotBefore time.Time
}

// Store keeps the session of one account. Save returns when the session is kept durably; what it
// keeps can log in as the account, so it is encrypted, or for its owner's eyes alone.
type Store interface {
	// Load returns the zero Session when there is none.
	Load(context.Context) (Session, error)
	Save(context.Context, Session) error
}

// FileStore is a Store in the file of that name, of mode 0600 and replaced atomically. Its folder
// is there already.
type FileStore string

type sessionFile struct {
	DID       string    `json:"did"`
	Server    string    `json:"server"`
	Access    string    `json:"access"`
	Refresh   string    `json:"refresh"`
	Logins    int       `json:"logins"`
	NotBefore time.Time `json:"not_before"`
}

// Load implements Store.
func (f FileStore) Load(context.Context) (Session, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return Session{}, nil
	}
	if err != nil {
		return Session{}, err
	}
	var s sessionFile
	if json.Unmarshal(text, &s) != nil { // its error might quote a token
		return Session{}, fmt.Errorf("%s holds no session: remove it to log in again", string(f))
	}
	return Session{DID: s.DID, Server: s.Server, Access: config.NewSecret(s.Access), Refresh: config.NewSecret(s.Refresh),
		Logins: s.Logins, NotBefore: s.NotBefore}, nil
}

// Save implements Store.
func (f FileStore) Save(_ context.Context, s Session) error {
	text, err := json.Marshal(sessionFile{DID: s.DID, Server: s.Server, Access: s.Access.Reveal(), Refresh: s.Refresh.Reveal(),
		Logins: s.Logins, NotBefore: s.NotBefore})
	if err != nil {
		return err
	}
	return wholefile.Write(string(f), text)
}
