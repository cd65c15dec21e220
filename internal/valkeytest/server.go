package valkeytest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Engine is the server program to run.
type Engine string

// The engines.
const (
	Valkey Engine = "valkey"
	Redis  Engine = "redis"
)

// Options configures a server. The zero value is a Valkey server that writes nothing to disk.
type Options struct {
	Engine Engine
	// AOF is the server's appendfsync: "always", "everysec" or "no". With "" the server has no
	// append-only file.
	AOF string
	// InMemory keeps the server's files in memory, where the machine has a place for that. There a
	// sync costs nothing.
	InMemory bool
	// Dir is where the server's files are; with "" they are in a directory of the test's.
	Dir string
	// Args are additional directives, as on the command line: "--maxmemory", "8mb".
	Args []string
	// TLS makes the server accept only TLS, with these certificates.
	TLS *Certificates
}

// Server is one running server.
type Server struct {
	Addr string // 127.0.0.1:port

	tb     testing.TB
	opt    Options
	dir    string
	port   int
	mode   []string // the directives that make it a sentinel or a cluster node
	leader *Server  // it is a replica of this one, if not nil
	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	output bytes.Buffer
}

// Start starts a server and waits until it answers.
func Start(tb testing.TB, opt Options) *Server {
	tb.Helper()
	s := newServer(tb, opt)
	s.run()
	s.awaitPing()
	return s
}

func newServer(tb testing.TB, opt Options) *Server {
	tb.Helper()
	if opt.Engine == "" {
		opt.Engine = Valkey
	}
	port := freePort(tb)
	s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), tb: tb, opt: opt, dir: tb.TempDir(), port: port}
	if opt.Dir != "" {
		s.dir = opt.Dir
	} else if opt.InMemory {
		if dir, err := os.MkdirTemp("/dev/shm", "tempestd"); err == nil {
			s.dir = dir
			tb.Cleanup(func() { _ = os.RemoveAll(dir) })
		}
	}
	tb.Cleanup(func() {
		s.Kill()
		if tb.Failed() {
			tb.Logf("the server at %s said:\n%s", s.Addr, tail(s.output.String(), 4000))
		}
	})
	return s
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// Program returns the path of a program of an engine: "server", "cli" or "benchmark".
func Program(tb testing.TB, e Engine, what string) string {
	tb.Helper()
	if e == "" {
		e = Valkey
	}
	path, err := exec.LookPath(string(e) + "-" + what)
	if err != nil {
		tb.Fatalf("%v: .ci/needs installs it", err)
	}
	return path
}

// freePort returns a port that is free, with the one 10 000 above it, at which a cluster node listens
// too. Both lie below the ports that the system gives to connections, so that none takes one of them
// before the server does, or while the server is restarted.
func freePort(tb testing.TB) int {
	tb.Helper()
	const first, count, bus = 10_000, 10_000, 10_000
	for range 100 {
		port := first + rand.IntN(count)
		if canListen(port) && canListen(port+bus) {
			return port
		}
	}
	tb.Fatal("no free port was found")
	return 0
}

func canListen(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// run starts the process.
func (s *Server) run() {
	s.tb.Helper()
	args := []string{"--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no", "--loglevel", "notice", "--logfile", ""}
	if s.opt.TLS == nil {
		args = append(args, "--port", fmt.Sprint(s.port))
	} else {
		args = append(args, "--port", "0", "--tls-port", fmt.Sprint(s.port), "--tls-cert-file", s.opt.TLS.Cert, "--tls-key-file", s.opt.TLS.Key,
			"--tls-ca-cert-file", s.opt.TLS.CA, "--tls-auth-clients", "yes")
	}
	if s.opt.AOF != "" {
		args = append(args, "--appendonly", "yes", "--appendfsync", s.opt.AOF)
	}
	if s.leader != nil {
		args = append(args, "--replicaof", "127.0.0.1", fmt.Sprint(s.leader.port))
	}
	args = append(append(s.mode, args...), s.opt.Args...)
	cmd := exec.Command(Program(s.tb, s.opt.Engine, "server"), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &lockedWriter{s: s}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
}

type lockedWriter struct{ s *Server }

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.output.Write(p)
}

// Kill ends the server abruptly, as a crash does.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the server in good order.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	cmd, ended := s.cmd, s.ended
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(sig)
	<-ended
}

// Restart starts the server again after Kill or Stop, on the same port and with the same files, and
// waits until it answers.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Relaunch()
	s.awaitPing()
}

// Relaunch is Restart without the wait. The server may still be loading its data.
func (s *Server) Relaunch() {
	s.tb.Helper()
	s.end(syscall.SIGKILL)
	s.run()
}

// Pause freezes the process: its connections stay open, but it answers nothing. The process is
// frozen when Pause returns. Continue resumes it.
func (s *Server) Pause() {
	s.tb.Helper()
	s.signal(syscall.SIGSTOP)
	s.Await("it is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
		// The state follows the program's name, which is in parentheses.
		return err == nil && bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T"))
	})
}

// Continue resumes a paused server.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

// PID returns the process ID of the server.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
	}
}

// CLI runs the engine's command line client against the server and returns its output.
func (s *Server) CLI(args ...string) string {
	s.tb.Helper()
	out, err := s.TryCLI(args...)
	if err != nil {
		s.tb.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryCLI is CLI, but returns an error instead of failing the test.
func (s *Server) TryCLI(args ...string) (string, error) {
	s.tb.Helper()
	all := []string{"-h", "127.0.0.1", "-p", fmt.Sprint(s.port)}
	if c := s.opt.TLS; c != nil {
		all = append(all, "--tls", "--cacert", c.CA, "--cert", c.Cert, "--key", c.Key)
	}
	out, err := exec.Command(Program(s.tb, s.opt.Engine, "cli"), append(all, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// awaitPing waits until the server has loaded its data and answers.
func (s *Server) awaitPing() {
	s.tb.Helper()
	s.Await("it answers", func() bool {
		out, err := s.TryCLI("PING")
		return err == nil && (out == "PONG" || strings.Contains(out, "NOAUTH"))
	})
}

// Await polls until done returns true. It fails the test after 20 s.
func (s *Server) Await(what string, done func() bool) {
	s.tb.Helper()
	if err := await(done); err != nil {
		s.tb.Fatalf("server %s: %s: %v", s.Addr, what, err)
	}
}

func await(done func() bool) error {
	if done() {
		return nil
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.After(2 * time.Minute)
	for {
		select {
		case <-tick.C:
			if done() {
				return nil
			}
		case <-over:
			return errors.New("not within two minutes")
		}
	}
}

// Dir returns the directory of the server's files.
func (s *Server) Dir() string { return filepath.Clean(s.dir) }

// Log returns the output of the server.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// writeFile writes a file into the server's directory.
func (s *Server) writeFile(name, text string) string {
	s.tb.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.tb.Fatal(err)
	}
	return path
}
