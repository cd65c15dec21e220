package config

import (
	"cmp"
	"net/url"
	"time"
)

// Account is the account that a feed follows. The zero Account is none.
type Account struct {
	Identifier string // a handle or a DID
	Password   Secret // an app password, for the timeline
	// Follows says that the feed's DIDs are the account's follows, beside those that are configured.
	Follows bool
	Refresh time.Duration // how often the follows are read
}

// accountTable is the path of the keys about a feed's account.
const accountTable = feedsTable + ".account"

// accountKeys returns the keys of [feeds.<name>.account].
func accountKeys() []key {
	field := func(name, value, example string) key {
		return key{path: accountTable + "." + name, value: value, example: example}
	}
	identifier := field("identifier", "", `"did:web:you.example"`)
	identifier.doc = `A feed that follows one account: its DID, or its handle. A DID is better: a handle can come to be another account's, and the password
goes to the server of the account that the handle leads to. With follows, the feed's dids are the account's follows, which are read
from its own server, kept under data_dir and read again every refresh ({range refresh}). With an app password, what was missed can be fetched
from the account's timeline; the session is kept under data_dir. password_file holds the password in a file of its own.`
	all := []key{
		bind(identifier, text("want a handle or a DID", isAccount), func(at place) *string { return &at.feed.Account.Identifier }),
		bind(field("password", "", ""), secret(), func(at place) *Secret { return &at.feed.Account.Password }),
		hidden(bind(field("password_file", "", `"${CREDENTIALS_DIRECTORY}/bluesky"`), path(), func(at place) *string { return &at.feed.accountPasswordFile })),
		bind(field("follows", `true`, `true`), flag(), func(at place) *bool { return &at.feed.Account.Follows }),
		bind(field("refresh", `"1h"`, `"1h"`), duration(time.Minute, 7*day), func(at place) *time.Duration { return &at.feed.Account.Refresh }),
	}
	for i := range all {
		show := all[i].show
		all[i].show = func(at place) string {
			if at.feed.Account.Identifier == "" {
				return "" // without an account the others say nothing
			}
			if text := show(at); text != `""` {
				return text
			}
			return ""
		}
	}
	return all
}

// isAccount says whether a text can be a handle or a DID. Which account it is turns out later.
func isAccount(text string) bool {
	for _, c := range text {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == ':' || c == '-' || c == '%' || c == '_') {
			return false
		}
	}
	return len(text) >= 3 && len(text) <= 256
}

// readAccountPasswords reads the files that hold app passwords.
func (l *loader) readAccountPasswords() {
	for name, f := range l.feeds {
		if f == nil || f.accountPasswordFile == "" {
			continue
		}
		key := showPath([]string{"feeds", name, "account", "password"})
		file := key + "_file"
		secret := l.secretFile(file, f.accountPasswordFile, "app password")
		if at, both := l.lines[key]; both {
			l.report(max(at, l.lines[file]), file, "found "+key+" as well", "want one of the two")
		}
		f.Account.Password = cmp.Or(f.Account.Password, secret)
	}
}

// finishAccount checks the rules about a feed's account.
func finishAccount(f *feedDraft, report func(key, found, want string)) {
	if f.Account.Identifier == "" {
		if !f.Account.Password.IsEmpty() || f.accountPasswordFile != "" {
			report("account", "found a password without identifier", "want the account's handle or DID as well")
		}
		f.Account = Account{}
	}
}

// networkKeys returns the keys of [network].
func networkKeys() []key {
	return []key{
		bind(key{path: "network.plc", value: `"https://plc.directory"`, doc: `The directory of accounts (did:plc), as the origin of a server.`},
			text(wantServer, isServer), func(at place) *string { return &at.draft.Network.PLC }),
		bind(key{path: "network.relay", example: `"https://relay1.us-east.bsky.network"`, doc: `A relay that says which accounts have records of a collection. With one, feeds that name a few collections and no dids can be
repaired from the accounts' servers, where these are not more than 10 000.`},
			text(wantServer, isServer), func(at place) *string { return &at.draft.Network.Relay }),
		bind(key{path: "network.local", value: `false`, doc: `For tests: call servers at addresses that are not public too, and without TLS. Accounts name their servers themselves, so with this
anybody can have this daemon call what runs beside it.`},
			flag(), func(at place) *bool { return &at.draft.Network.Local }),
	}
}

const wantServer = `want the origin of a server, such as "https://plc.directory"`

// isServer says whether a text is a scheme and a host, with a port or without.
func isServer(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.Scheme+"://"+u.Host == text
}
