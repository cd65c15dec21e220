//go:build !unix

package jetstream

import "net"

type poller struct{}

func newPoller(net.Conn) *poller { return nil }

func (*poller) poll([]byte) (int, error) { return 0, nil }
