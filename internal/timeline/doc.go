// Package timeline follows one account's timeline with its app password: who it follows, and what
// its timeline shows of a time that a feed has missed.
//
// # The session
//
// An Account logs in once. Its tokens are kept in a Store, and a daemon that starts again goes on
// with them: servers allow few logins a day. The token for calls lasts hours; when it has expired,
// one caller gets a new pair and the others wait for it. The old token is used up by that, so the
// new pair is stored before it is used. Only when the server refuses the refresh does the Account
// log in again, and each further login waits longer than the one before, until a refresh has
// worked. The waits are stored too. Errors, logs and String never show a token or the password
// (I10).
//
// # The timeline
//
// Account.Timeline reads backwards from now to a time. A timeline is what the app view chooses to
// show: it has posts and reposts, no likes and no deletes, its pages may be short, empty or out of
// order, and it may end early. What comes back is repaired as far as the app view shows; it never
// is complete. Posts carry their record, which is compared with its CID. A repost is shown by its
// URI alone, so its record is asked for at the server of the account that made it.
//
// # Files
//
//	account.go  Account: calls with a session
//	session.go  logging in and refreshing
//	store.go    Session, Store, and the Store in a file
//	follows.go  Follows
//	read.go     Timeline
//	item.go     one item of it
//	errors.go   LoginWait and the others
package timeline
