package oracle

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// node is a machine with a daemon. What it keeps outlives the daemon's processes.
type node struct {
	name        string
	host        string // of its HTTP server
	checkpoints checkpoints
	filters     filterStore
	run         *incarnation // nil while the daemon is down

	mu     sync.Mutex
	frozen chan struct{} // closed when it goes on; nil while it runs
	cut    bool          // it cannot reach the shared store
}

func newNode(i int) *node {
	return &node{name: fmt.Sprintf("node %d", i), host: fmt.Sprintf("127.0.0.1:%d", 7001+i)}
}

// freeze stops the machine's conversation with the shared store, as SIGSTOP does.
func (w *world) freeze(n *node) {
	w.net.hold(n, true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen == nil {
		n.frozen = make(chan struct{})
	}
}

func (w *world) thaw(n *node) {
	w.net.hold(n, false)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	}
}

func (w *world) setCut(n *node, cut bool) {
	w.net.sever(n, cut)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

// running are the processes that run.
func (w *world) running() (all []*incarnation) {
	for _, n := range w.nodes {
		if n.run != nil {
			all = append(all, n.run)
		}
	}
	return all
}

// revive starts the daemon of a node again, as often as it takes.
func (w *world) revive(n *node) {
	for tries := 0; n.run == nil; tries++ {
		if err := w.start(n); err != nil {
			w.log.add("the daemon does not start: %v", err)
			if tries == 100 {
				panic(err)
			}
			time.Sleep(time.Second)
		}
	}
}

// stop stops a node's daemon in good order.
func (w *world) stop(n *node) {
	if n.run == nil {
		return
	}
	run := n.run
	n.run = nil
	w.stats.Stops++
	if err := run.end(context.Background(), 10*time.Second); err != nil {
		w.log.add("the daemon stopped with: %v", err)
	}
}
