// Package doctor finds out why a daemon would not work here, or not well. It changes nothing, and
// it can run beside a daemon.
//
// [Examine] makes one check after the other and reports each in one sentence. A check fails when
// the daemon cannot do its work, and warns when it can and something is unwise. Each question to a
// server has its own bound of time, and a check that needs the result of a failed one is left out.
//
//	doctor.go   Examine, Report
//	upstream.go the servers of the feeds: name, TLS, handshake, protocol
//	clock.go    their clocks and ours
//	machine.go  files, the disk, limits, the port
//	valkey.go   the store that daemons share
package doctor
