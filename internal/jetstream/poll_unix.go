//go:build unix

package jetstream

import (
	"io"
	"net"
	"os"
	"syscall"
)

// poller reads the bytes that a socket has, without waiting.
type poller struct {
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once, so that a poll allocates nothing
	into []byte
	n    int
	err  error
}

// newPoller returns nil for a connection that is not a socket of the operating system.
func newPoller(c net.Conn) *poller {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	p := &poller{raw: raw}
	p.read = func(fd uintptr) bool {
		p.n, p.err = syscall.Read(int(fd), p.into)
		return true
	}
	return p
}

// poll returns what net.Conn.Read would return, or no bytes and no error if Read would wait. The
// system reports a socket error only once, so the caller must pass it on.
func (p *poller) poll(into []byte) (int, error) {
	p.into, p.n, p.err = into, 0, nil
	err := p.raw.Read(p.read)
	switch {
	case err != nil:
		return 0, err
	case p.err == syscall.EAGAIN || p.err == syscall.EINTR:
		return 0, nil
	case p.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", p.err)}
	case p.n == 0:
		return 0, io.EOF
	}
	return p.n, nil
}
