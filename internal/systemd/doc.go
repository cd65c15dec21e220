// Package systemd talks to the service manager about readiness, status, stop and watchdog, for a
// unit of Type=notify.
//
// The watchdog proves that the daemon does its work, not only that it runs. Before every ping comes
// a check whose question travels through the actor tree and back. A dead upstream does not fail the
// check, but a hanging supervisor does. Then the pings stop, and systemd restarts the service after
// WatchdogSec.
//
// Without NOTIFY_SOCKET in the environment, as in a terminal, all functions do nothing. A
// notification that cannot be sent is reported once, and does not stop the daemon. Nothing waits
// for a service manager that does not read: a change of state is sent later, the rest is dropped.
//
//	notifier.go  Notifier: the notifications
//	socket.go    one message to the socket
//	watchdog.go  the watchdog's loop
package systemd
