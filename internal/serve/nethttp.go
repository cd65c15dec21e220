package serve

import (
	"log"
	"strings"

	"tempestd/internal/observe"
)

// netHTTP makes events of the lines that net/http logs.
type netHTTP struct{ observer *observe.Observer }

func (n netHTTP) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if failure, accept := strings.CutPrefix(text, "http: Accept error: "); accept {
		n.observer.Emit(observe.HTTPAcceptFailed, "", "error", failure)
	} else {
		n.observer.Library("net/http").Warn(text)
	}
	return len(line), nil
}

func (s *Server) netLog() *log.Logger { return log.New(netHTTP{s.observer}, "", 0) }
