package valkeysim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tempestd/messages"
)

// Faults is what goes wrong. The zero value is nothing.
type Faults struct {
	// The next writing commands or scripts, as many as these say: they run and are not answered, they
	// run and their connection ends, or their connection ends before they run.
	Swallow, Unanswered, Unheard int

	Late    time.Duration // how long each command takes, half of it before it runs
	Down    bool          // new connections are refused
	Full    bool          // commands that need memory are refused (OOM)
	Replica bool          // commands that write are refused (READONLY)
	Loading bool          // all commands are refused (LOADING)
	Denied  []string      // commands that the user may not run (NOPERM)
}

// Inject changes the faults.
func (s *Server) Inject(change func(*Faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
}

// Freeze stops the server: commands wait until Thaw.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.thawed == nil && !s.closed {
		s.thawed = make(chan struct{})
	}
}

// Thaw ends a Freeze.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.thaw()
}

func (s *Server) thaw() {
	if s.thawed != nil {
		close(s.thawed)
		s.thawed = nil
	}
}

// FlushScripts forgets all scripts.
func (s *Server) FlushScripts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts.flush()
}

// Image is the data at one moment.
type Image map[string]any

// Image returns the present data.
func (s *Server) Image() Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.clone()
}

// Restore replaces the data, as a restart from a file or a failover to a replica does, and hangs up.
// The scripts are forgotten. It returns the image.
func (s *Server) Restore(i Image) Image {
	s.mu.Lock()
	s.data = i.clone()
	s.scripts.flush()
	s.mu.Unlock()
	s.Hang()
	return i
}

// Newest is the newest ID that a stream has ever given; zero if there is no stream under the key.
func (i Image) Newest(key string) (id messages.EntryID) {
	if s, ok := i[key].(*stream); ok {
		id = s.last
	}
	return id
}

func (i Image) clone() Image {
	copied := make(Image, len(i))
	for key, value := range i {
		switch v := value.(type) {
		case *text:
			c := *v
			copied[key] = &c
		case hash:
			copied[key] = maps.Clone(v)
		case members:
			copied[key] = maps.Clone(v)
		case *stream:
			c := *v
			c.entries = slices.Clone(v.entries)
			copied[key] = &c
		}
	}
	return copied
}

// fate is what happens to a command.
type fate int

const (
	answered fate = iota
	swallowed
	unanswered
	unheard
)

// fate says how long a command takes and what happens to it. It waits while the server is frozen.
func (s *Server) fate(ctx context.Context, args []string) (late time.Duration, f fate) {
	for {
		s.mu.Lock()
		thawed := s.thawed
		if thawed == nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-thawed:
		case <-ctx.Done():
			return 0, unheard
		}
	}
	defer s.mu.Unlock()
	if !s.writes(args) {
		return s.faults.Late, answered
	}
	for i, left := range []*int{&s.faults.Swallow, &s.faults.Unanswered, &s.faults.Unheard} {
		if *left > 0 {
			*left--
			return s.faults.Late, swallowed + fate(i)
		}
	}
	return s.faults.Late, answered
}

// writes says whether a command writes, or may: a script with arguments.
func (s *Server) writes(args []string) bool {
	if strings.HasPrefix(args[0], "EVAL") {
		return true
	}
	return commands[args[0]].writes
}

// refuses returns the error of a command that is refused, "" for none. The caller holds s.mu.
func (s *Server) refuses(args []string, grows, writes bool) failure {
	switch f := &s.faults; {
	case args[0] == "HELLO" || args[0] == "CLIENT" || args[0] == "PING":
		return ""
	case f.Loading:
		return "LOADING Valkey is loading the dataset in memory"
	case slices.Contains(f.Denied, args[0]):
		return failure(fmt.Sprintf("NOPERM User default has no permissions to run the '%s' command", strings.ToLower(args[0])))
	case f.Replica && writes:
		return "READONLY You can't write against a read only replica."
	case f.Full && grows:
		return "OOM command not allowed when used memory > 'maxmemory'."
	}
	return ""
}
