package oracle

import (
	"strings"
	"sync"
)

// panics makes actors fail: at the n-th time that a point is passed from now on.
type panics struct {
	mu    sync.Mutex
	point string
	n     int
	done  int
}

func (p *panics) arm(point string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.point, p.n = point, n
}

// asked is how a panic begins that a schedule asks for.
const asked = "the schedule says so"

// at is the fault hook of the daemon.
func (p *panics) at(point string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 || !strings.HasPrefix(point, p.point) {
		return
	}
	if p.n--; p.n == 0 {
		p.done++
		panic(asked + ": " + point)
	}
}

// points are where actors can fail: their names, with or without the message or the goroutine.
var points = []string{"", "connection", "writer", "cursor", "watchdog", "backfill",
	"connection.read", "connection.heartbeat", "connection.ping", "connection.close", "writer.commit", "writer.stored",
	"writer *messages.AppendBatch", "writer *messages.Quiesce", "writer *actors.BeginEpoch", "writer *messages.EpochOpened",
	"cursor *messages.Committed", "cursor *messages.ResumeQuery", "cursor *messages.SaveCheckpoint",
	"connection *actors.Connect", "connection *actor.Started", "watchdog *messages.Heartbeat"}
