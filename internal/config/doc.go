// Package config turns a TOML file into a validated, typed [Config]. It is the only place with
// default values.
//
// The vocabulary is one table (keys.go). It has, once for each key, the name, the default, the
// documentation, the way to read the value and the way to write it. Load walks the syntax tree of
// the document instead of decoding into a struct, because a struct decoder stops at the first wrong
// type and does not know line numbers. Load looks up every entry of the file in the table, reads it
// by its key's [kind], and collects all errors with their positions. It reports all of them at
// once, sorted by line (see [Errors]). It continues after a syntax error, so that the error does
// not hide others.
//
// The documented default configuration at the top of the repository is generated from the same
// table ([Config.WriteReference]).
//
//	config.go   the typed configuration
//	secret.go   Secret, a string that is never shown (I10)
//	errors.go   Error, Errors
//	shown.go    the values that an error may repeat (I10)
//	keys.go     the table of keys: names, defaults, documentation
//	keys_http.go the same for the listener
//	keys_valkey.go, valkey.go  the same for the store that daemons share
//	start.go    where a feed begins
//	kinds.go    how the values of the table are read and written: choices, counts, lists
//	ends.go     the ranges of values, and where the documentation has them from
//	units.go    durations and sizes
//	strings.go  paths, secrets, addresses: values from the environment or checked on the machine
//	origins.go  origins of web pages, names of hosts, addresses of proxies
//	names.go    the form of the names of feeds, collections, DIDs and endpoints, and Endpoint
//	document.go a TOML document as a flat list of entries with lines
//	load.go     Load, Find, Default: entries in, Config or Errors out
//	unknown.go  what an entry without a key may have meant
//	files.go    the files that the configuration names: tokens, passwords, DIDs
//	tokens.go   the listener's tokens: files, hashes, lengths
//	finish.go   the rules that involve several keys
//	warnings.go what is allowed and unwise
//	descriptors.go  how many open files readers leave to store and feeds
//	diff.go     what another configuration changes, and what of it needs a restart
//	suggest.go  "did you mean"
//	write.go    the effective configuration and the reference as TOML
package config
