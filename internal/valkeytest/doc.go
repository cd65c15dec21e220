// Package valkeytest starts real Valkey and Redis servers on loopback for tests: a single server, a
// cluster, or a primary with a replica and sentinels. A proxy applies network faults to their
// connections.
//
// The servers are child processes of the test. They and their files are removed when the test ends.
// If a program is missing, the test fails and names .ci/needs, which installs it.
//
//	server.go    one server: start, kill, pause, restart, its command line
//	topology.go  a cluster; a primary with a replica and sentinels
//	proxy.go     the proxy
//	tls.go       certificates for a test
package valkeytest
