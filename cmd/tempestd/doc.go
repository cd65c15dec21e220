// Command tempestd keeps Bluesky Jetstream feeds alive, stores every event once and in order, and
// serves the streams to any number of readers.
//
// There is one file per subcommand. Each reads its flags, calls the package that does the work, and
// prints the result. They share these files:
//
//	main.go    the process: signals
//	root.go    the command tree, exit codes
//	daemon.go  where client commands find the daemon
//	print.go   tables, colours, JSON, what fits a terminal
//	event.go   entries of a stream as lines
//	view.go    the demo's live view
//
// Data goes to standard output, everything else to standard error. The exit codes are: 0 done; 1
// failed; 2 the command line or the configuration is wrong; 128+n ended by signal n.
package main
