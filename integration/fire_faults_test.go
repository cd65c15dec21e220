package integration_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tempestd/internal/jetsim"
)

// fireFault is a kind of faults.
type fireFault struct {
	store string                   // "" for both
	fits  func(*fireSchedule) bool // nil for every schedule
	most  time.Duration            // how long it lasts at most; 0 if it does not last
	// begin makes it happen. end ends it, nil if there is nothing to end. done is false where the
	// machine or the world has nothing that it could happen to.
	begin func(w *fireWorld, n *fireNode, s fireStep) (end func(), done bool)
}

// failoverMost is how long a primary works on at most after its replica is cut off.
const failoverMost = 2 * time.Second

// fireFaults returns all kinds, by name.
func fireFaults() map[string]fireFault {
	return map[string]fireFault{
		"kill": {begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.kill()
			return nil, true
		}},
		"crash": {begin: func(_ *fireWorld, n *fireNode, s fireStep) (func(), bool) {
			n.arm = []string{fmt.Sprintf("%s=%s:%d", crashpointVariable, s.text, s.n)}
			n.kill()
			return nil, true
		}},
		"freeze": {most: 5 * time.Second, begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.signal(syscall.SIGSTOP)
			frozen := n.process
			return func() { frozen.signal(syscall.SIGCONT) }, true
		}},
		"stop": {begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.signal(syscall.SIGTERM)
			return nil, true
		}},
		"reload": {begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.signal(syscall.SIGHUP)
			return nil, true
		}},
		"descriptors": {most: 2 * time.Second, begin: func(_ *fireWorld, n *fireNode, s fireStep) (func(), bool) {
			n.excused = true // one that is just starting gives up
			return n.limit(unix.RLIMIT_NOFILE, uint64(n.descriptors()+s.n))
		}},
		"memory": {most: 2 * time.Second, begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.excused = true
			return n.limit(unix.RLIMIT_AS, uint64(n.virtual()+4<<20))
		}},
		"reader": {begin: func(w *fireWorld, _ *fireNode, s fireStep) (func(), bool) {
			w.readers[s.n%len(w.readers)].kill()
			return nil, true
		}},
		"burst": {begin: func(w *fireWorld, _ *fireNode, s fireStep) (func(), bool) {
			w.fleet.Produce(int64(s.n))
			return nil, true
		}},
		"upstream": {most: 3 * time.Second, begin: func(w *fireWorld, _ *fireNode, s fireStep) (func(), bool) {
			f := jetsim.Fault{Name: s.text, For: s.lasts}
			members := w.fleet.Members()
			if members[s.node%len(members)].Inject(f) != nil { // some do not last
				f.For = 0
				return nil, members[s.node%len(members)].Inject(f) == nil
			}
			return nil, true
		}},

		"full": {store: "embedded", most: 3 * time.Second, begin: func(w *fireWorld, _ *fireNode, _ fireStep) (func(), bool) {
			if w.disk == nil {
				return nil, false
			}
			w.disk.Fill()
			return w.disk.Empty, true
		}},
		// The file system fails at once; after a while the machine is started again.
		"disk-fails": {store: "embedded", most: 2 * time.Second, begin: func(w *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			return w.breakDisk(n, w.disk.ShutDown)
		}},
		"read-only": {store: "embedded", most: 2 * time.Second, begin: func(w *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			return w.breakDisk(n, w.disk.Abort)
		}},
		"power": {store: "embedded", begin: func(w *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			return w.breakDisk(n, w.disk.ShutDown)
		}},
		"torn": {store: "embedded", begin: func(w *fireWorld, n *fireNode, s fireStep) (func(), bool) {
			if w.disk != nil && w.disk.Broken {
				return nil, false
			}
			release := w.hold(n)
			n.damage(s.text)
			release()
			return nil, true
		}},

		"server-kill":   {store: "valkey", most: 2 * time.Second, begin: valkeyFault((*fireServer).kill)},
		"server-freeze": {store: "valkey", most: 4 * time.Second, begin: valkeyFault((*fireServer).freeze)},
		"client-pause":  {store: "valkey", most: 2 * time.Second, begin: valkeyFault((*fireServer).pause)},
		"client-kill":   {store: "valkey", begin: valkeyFault((*fireServer).killClients)},
		"script-flush":  {store: "valkey", begin: valkeyFault((*fireServer).flushScripts)},
		"no-memory":     {store: "valkey", most: 2 * time.Second, begin: valkeyFault((*fireServer).noMemory)},
		"forbidden":     {store: "valkey", most: 2 * time.Second, begin: valkeyFault((*fireServer).forbid)},
		"failover":      {store: "valkey", most: failoverMost, begin: valkeyFault((*fireServer).failOver)},
		"swallow": {store: "valkey", begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.proxy.SwallowNext()
			return nil, true
		}},
		"partition": {store: "valkey", most: 4 * time.Second, begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.proxy.BlackHole(true)
			return func() {
				n.proxy.BlackHole(false)
				n.proxy.Cut() // bytes are missing in the connections
			}, true
		}},
		"cut": {store: "valkey", begin: func(_ *fireWorld, n *fireNode, _ fireStep) (func(), bool) {
			n.proxy.Cut()
			return nil, true
		}},
	}
}

// upstreamFaults are the faults of a server after which it still has everything.
var upstreamFaults = []string{jetsim.FaultClose, jetsim.FaultEOF, jetsim.FaultReset, jetsim.FaultHalfOpen, jetsim.FaultStall, jetsim.FaultSlow,
	jetsim.FaultGarbage, jetsim.FaultRefuse, jetsim.FaultCrash, jetsim.FaultTooSlow, jetsim.FaultRotate, jetsim.FaultMigrate, jetsim.FaultStale}

// limit bounds a resource of the running process. Of two bounds that overlap, the first end ends both:
// to go back to what was there before would keep the first bound forever.
func (n *fireNode) limit(resource int, most uint64) (end func(), done bool) {
	pid := n.cmd.Process.Pid
	var before unix.Rlimit
	if n.hasEnded() || unix.Prlimit(pid, resource, nil, &before) != nil {
		return nil, false
	}
	if unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: before.Max}, nil) != nil {
		return nil, false
	}
	limited := n.process
	return func() {
		if !limited.hasEnded() {
			_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: before.Max, Max: before.Max}, nil) // it may end now
		}
	}, true
}

// descriptors is how many files the process has open.
func (n *fireNode) descriptors() int {
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid)) // 0 if it has ended
	return len(open)
}

// virtual is the size of the process's address space, in bytes.
func (n *fireNode) virtual() (size int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.cmd.Process.Pid))
	_, _ = fmt.Sscan(string(text), &size) // 0 if it has ended
	return size * os.Getpagesize()
}

// tornKinds are what can be wrong with the files of a stopped store so that everything is still
// there, or can be had again.
var tornKinds = []string{"torn-tail", "garbage-behind", "mark-gone", "mark-flipped", "copy-flipped", "sums-gone", "spare-gone"}

// damage damages the files of a daemon that does not run.
func (n *fireNode) damage(how string) {
	n.t.Helper()
	store := filepath.Join(n.data, "store")
	if found, _ := filepath.Glob(filepath.Join(store, "streams", feed, "*.seg")); len(found) == 0 {
		return // nothing is stored yet
	}
	path, end := n.newestBlock()
	switch how {
	case "torn-tail":
		n.overwriteAt(path, end-60, make([]byte, 60))
	case "garbage-behind":
		n.overwriteAt(path, end+8, []byte("what is this doing here"))
	case "mark-gone":
		_ = os.Remove(filepath.Join(store, "marks", feed))
	case "mark-flipped":
		n.overwriteAt(filepath.Join(store, "marks", feed), 20, []byte{0xa5})
	case "copy-flipped":
		n.overwriteAt(filepath.Join(store, "state.copy"), 15, []byte{0xa5, 0xa5})
	case "sums-gone":
		_ = os.Remove(filepath.Join(store, "state.sums"))
	case "spare-gone":
		if newest := n.segments(); newest[len(newest)-1] != path {
			_ = os.Remove(newest[len(newest)-1])
		}
	}
}

// overwriteAt changes a file, if it is there.
func (n *fireNode) overwriteAt(path string, off int64, b []byte) {
	n.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		n.t.Fatal(err)
	}
}

// breakDisk breaks the file system under a running daemon. In the end the daemon is killed, and the
// file system is mounted again with what its journal has.
func (w *fireWorld) breakDisk(n *fireNode, how func()) (end func(), done bool) {
	if w.disk == nil || w.disk.Broken {
		return nil, false
	}
	n.excused = true
	n.held++ // nothing can be started there
	how()
	return func() {
		n.kill()
		w.keep()
		w.disk.MountAgain()
		n.held--
	}, true
}
