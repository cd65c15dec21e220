package supervisor

import (
	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/messages"
)

// healthRound collects the answers to one health check. A later check replaces an unanswered one,
// whose asker has given up.
type healthRound struct {
	id      uint64
	asker   *actor.PID
	waiting map[string]bool // actor IDs that have not answered
}

// ask passes a check on to pids and remembers the asker. If there are no pids, it answers at once.
func (h *healthRound) ask(ctx actor.Context, check *messages.HealthCheck, pids []*actor.PID) {
	h.id, h.asker = check.ID, ctx.Sender()
	h.waiting = make(map[string]bool, len(pids))
	for _, pid := range pids {
		h.waiting[pid.Id] = true
		ctx.Request(pid, check)
	}
	h.answer(ctx)
}

// reply notes an answer, and answers the asker when all answers have come.
func (h *healthRound) reply(ctx actor.Context, m *actors.HealthReply) {
	if m.ID == h.id {
		h.excuse(ctx, m.From)
	}
}

// excuse counts an actor as answered, because its supervisor knows that the actor cannot answer: it
// waits for a restart or has ended.
func (h *healthRound) excuse(ctx actor.Context, pid *actor.PID) {
	delete(h.waiting, pid.Id)
	h.answer(ctx)
}

func (h *healthRound) answer(ctx actor.Context) {
	if h.asker != nil && len(h.waiting) == 0 {
		ctx.Send(h.asker, &actors.HealthReply{ID: h.id, From: ctx.Self()})
		h.asker = nil
	}
}
