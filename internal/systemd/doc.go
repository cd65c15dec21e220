// Package systemd speaks to the service manager: readiness, status, stop and watchdog, for a unit of Type=notify.
//
// The watchdog proves that the daemon does its work, not that it runs: every ping is preceded by a check whose question travels through
// the actor tree and back. An upstream that is dead does not fail the check, a supervisor that hangs does. Then the pings stop, and
// systemd restarts the service after WatchdogSec.
//
// Without NOTIFY_SOCKET in the environment, as in a terminal, everything here does nothing. A notification that cannot be sent is said once and
// is never a reason to stop.
//
//	notifier.go  Notifier: what is told
//	watchdog.go  the watchdog's loop
package systemd
