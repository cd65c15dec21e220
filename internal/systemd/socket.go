package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// send sends a message to the service manager, if there is one, and never waits. If the socket is
// full, the error matches syscall.EAGAIN. (daemon.SdNotify of go-systemd waits until somebody reads
// the socket.)
func send(message string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err == nil {
		var writeErr error
		err = raw.Write(func(fd uintptr) bool {
			_, writeErr = syscall.Write(int(fd), []byte(message)) // the runtime's sockets do not block
			return true
		})
		if err == nil {
			err = writeErr
		}
	}
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("the service manager does not read its socket: %w", err)
	case err != nil:
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
