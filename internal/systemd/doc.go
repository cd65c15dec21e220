// Package systemd talks to the service manager about readiness, status, stop and watchdog, for a
// unit of Type=notify.
//
// The watchdog proves that the daemon does its work, not only that it runs. Before every ping comes
// a check whose question travels through the actor tree and back. A dead upstream does not fail the
// check, but a hanging supervisor does. Then the pings stop, and systemd restarts the service after
// WatchdogSec.
//
// Without NOTIFY_SOCKET in the environment, as in a terminal, all functions do nothing. A
// notification that cannot be sent is reported once, and does not stop the daemon.
//
//	notifier.go  Notifier: the notifications
//	watchdog.go  the watchdog's loop
package systemd
