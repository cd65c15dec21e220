// Package crashpoint names the instants at which a crash is most likely to break a promise: between
// two steps that must hold together. Tests kill the process at such an instant.
//
// The code calls Pass at each point. In a normal build Pass does nothing and is inlined to nothing.
// With the build tag crashpoints, Pass kills the process with SIGKILL at the n-th pass of the point
// that the environment names:
//
//	TEMPESTD_CRASHPOINT=append.written      # at the first pass
//	TEMPESTD_CRASHPOINT=append.written:20   # at the 20th
//
// The process first writes "crashpoint append.written" to its standard error. Nothing else runs in
// between: no deferred call, no flush.
//
//	points.go   the points
//	off.go      Pass in a normal build
//	on.go       Pass in a build with the tag
package crashpoint
