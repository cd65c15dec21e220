// Package valkeytest starts real Valkey and Redis servers on loopback for tests: one alone, a cluster, a primary with a replica and sentinels; and a proxy
// that does to their connections what networks do.
//
// Servers are processes of the caller's and end with the test, as do their files. A program that is missing fails the test and names .ci/needs,
// which installs it.
//
//	server.go    one server: start, kill, pause, restart, its command line
//	topology.go  a cluster; a primary with a replica and sentinels
//	proxy.go     the proxy
//	tls.go       certificates for a test
package valkeytest
