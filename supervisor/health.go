package supervisor

import (
	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/messages"
)

// healthRound collects the answers to one health check. A later check replaces an unanswered one: whoever asked it has given up.
type healthRound struct {
	id      uint64
	asker   *actor.PID
	waiting map[string]bool // actor IDs that have not answered
}

// ask passes a check on to pids and remembers who is to be told. Without anyone to ask it answers at once.
func (h *healthRound) ask(ctx actor.Context, check *messages.HealthCheck, pids []*actor.PID) {
	h.id, h.asker = check.ID, ctx.Sender()
	h.waiting = make(map[string]bool, len(pids))
	for _, pid := range pids {
		h.waiting[pid.Id] = true
		ctx.Request(pid, check)
	}
	h.settle(ctx)
}

// reply notes an answer, and answers in turn once all have come.
func (h *healthRound) reply(ctx actor.Context, m *actors.HealthReply) {
	if m.ID == h.id {
		h.excuse(ctx, m.From)
	}
}

// excuse counts an actor as answered: its supervisor knows that it is waiting to be restarted and cannot answer itself.
func (h *healthRound) excuse(ctx actor.Context, pid *actor.PID) {
	delete(h.waiting, pid.Id)
	h.settle(ctx)
}

func (h *healthRound) settle(ctx actor.Context) {
	if h.asker != nil && len(h.waiting) == 0 {
		ctx.Send(h.asker, &actors.HealthReply{ID: h.id, From: ctx.Self()})
		h.asker = nil
	}
}
