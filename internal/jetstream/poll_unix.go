//go:build unix

package jetstream

import (
	"io"
	"net"
	"os"
	"syscall"
)

// poller reads what a socket has, without waiting.
type poller struct {
	raw  syscall.RawConn
	read func(fd uintptr) bool // once made, so that a poll allocates nothing
	into []byte
	n    int
	err  error
}

// newPoller gives nil for a connection that is no socket of the operating system's.
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

// poll gives what net.Conn.Read would give, and no bytes and no error where that would wait. What has
// befallen a socket is told once: whoever is told must pass it on.
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
