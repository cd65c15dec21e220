package valkeysim

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"tempestd/messages"
)

// Server is a server with its data. The zero value is not ready: use New. It is safe for concurrent
// use.
type Server struct {
	mu      sync.Mutex // one command at a time
	data    Image
	scripts scripts
	added   chan struct{} // closed and replaced when a stream has got an entry
	faults  Faults
	thawed  chan struct{} // closed when the server goes on; nil while it runs
	conns   map[net.Conn]struct{}
	onAdd   func(key string, id messages.EntryID, fields []any)
	closed  bool
	serving sync.WaitGroup
}

// New returns a server without data.
func New() *Server {
	return &Server{data: Image{}, added: make(chan struct{}), conns: map[net.Conn]struct{}{}}
}

// OnAdd makes the server call a function with each entry that it adds to a stream, before anybody can
// read it. The function must not use the server.
func (s *Server) OnAdd(call func(key string, id messages.EntryID, fields []any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAdd = call
}

// Serve serves the connections of a listener until the listener is closed. A server that is down
// hangs up.
func (s *Server) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		s.accept(conn)
	}
}

// accept serves a connection, or hangs up.
func (s *Server) accept(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.faults.Down {
		conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	s.serving.Go(func() { s.serve(conn) })
	return true
}

// Dial connects to the server over a connection in memory. It has the form of a dialler; the address
// does not matter.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	if !s.accept(ours) {
		return nil, net.ErrClosed
	}
	return theirs, nil
}

// Close ends all connections, and waits for their goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.thaw()
	s.mu.Unlock()
	s.Hang()
	s.serving.Wait()
}

// Hang hangs up all connections.
func (s *Server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
	clear(s.conns)
}

// serve serves one connection.
func (s *Server) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	ctx, gone := context.WithCancel(context.Background())
	defer gone()
	requests := make(chan []string, 1024) // a client may send so many before it reads an answer
	s.serving.Go(func() {                 // a connection that ends also ends a command that waits
		defer gone()
		r := bufio.NewReader(conn)
		for {
			args, err := readRequest(r)
			if err != nil {
				return
			}
			select {
			case requests <- args:
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		select {
		case args := <-requests:
			if !s.answer(ctx, conn, args) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// answer runs a command and sends its reply. It returns false when the connection is to end.
func (s *Server) answer(ctx context.Context, conn net.Conn, args []string) bool {
	if len(args) == 0 {
		return false
	}
	args[0] = strings.ToUpper(args[0])
	late, fate := s.fate(ctx, args)
	if !wait(ctx, late/2) || fate == unheard {
		return false
	}
	reply := s.run(ctx, args)
	if !wait(ctx, late/2) || fate == unanswered {
		return false
	}
	if fate == swallowed {
		return true
	}
	_, err := conn.Write(appendReply(nil, reply))
	return err == nil
}

// wait waits, and returns false if the context ends.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run runs a command. Only XREAD waits.
func (s *Server) run(ctx context.Context, args []string) any {
	if args[0] == "XREAD" {
		return s.read(ctx, args)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch args[0] {
	case "EVAL", "EVALSHA":
		return s.eval(args)
	case "SCRIPT":
		s.scripts.flush()
		return status("OK")
	}
	return s.do(args)
}

// do runs one command that is no script. The caller holds s.mu.
func (s *Server) do(args []string) any {
	known, ok := commands[args[0]]
	switch {
	case !ok:
		return failure("ERR unknown command '" + args[0] + "'")
	case len(args) < known.args:
		return failure("ERR wrong number of arguments for '" + strings.ToLower(args[0]) + "' command")
	}
	if refused := s.refuses(args, known.grows, known.writes); refused != "" {
		return refused
	}
	reply, err := known.do(&call{s, args})
	if err != "" {
		return err
	}
	return reply
}
