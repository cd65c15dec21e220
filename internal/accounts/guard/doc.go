// Package guard makes the HTTP client for hosts that strangers name.
//
// An account's document names its server, and a server redirects. Without a guard either could have
// this machine call its own services, or those of its network. So the client calls public addresses
// alone, by https at port 443. An address is checked when it is dialled: after the name was
// resolved, on the very address that is connected to, so a name that resolves to something else the
// second time gains nothing. A redirect is a call like any other. No proxy is used: it would dial
// in the client's place.
//
//	address.go which addresses are public
//	client.go  New
package guard
