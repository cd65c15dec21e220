package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// valkey asks the server that has the streams.
func (x *examination) valkey(ctx context.Context) {
	subject := strings.Join(x.cfg.Valkey.Addresses, ",")
	opt, err := x.cfg.Valkey.Options()
	if err == nil {
		opt.Clock, opt.OnNotice = x.Clock, func(persistence.Notice) {}
		var store *valkey.Store
		if store, err = valkey.Open(ctx, opt); err == nil {
			defer store.Close()
			x.store(ctx, subject, store)
			return
		}
	}
	x.tell("valkey", subject, Failure, "%v", err)
}

func (x *examination) store(ctx context.Context, subject string, store *valkey.Store) {
	// Health asks for everything that the daemon does: the version, the role, the memory's policy,
	// the durability, and the right to every command on every key.
	if err := store.Health(); err != nil {
		x.tell("valkey", subject, Failure, "%v", err)
	} else {
		x.tell("valkey", subject, OK, "answers, accepts writes, and allows every command that is needed")
	}
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	facts, err := store.Inspect(ctx)
	if err != nil {
		return // Health has told
	}
	var kept int64
	for i := range x.cfg.Feeds {
		kept += x.cfg.Feeds[i].Retention.Bytes
	}
	for _, c := range judge(facts, kept, x.cfg.Valkey.Durability) {
		x.tell(c.Name, subject, c.Level, "%s", c.Detail)
	}
}

// judge looks at what a server tells about itself. kept is what the streams keep, in bytes.
func judge(f valkey.Facts, kept int64, durability string) (all []Check) {
	add := func(name string, level Level, format string, args ...any) {
		all = append(all, Check{Name: name, Level: level, Detail: fmt.Sprintf(format, args...)})
	}
	if f.Version != "" {
		add("valkey version", OK, "%s", f.Version)
	}
	size := func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
	switch {
	case f.MaxMemory == 0:
		add("valkey memory", Warning, "maxmemory is not set: a stream that outgrows the machine's memory ends the server; %s are in use", size(f.Used))
	case kept > f.MaxMemory:
		add("valkey memory", Warning, "the feeds keep up to %s and maxmemory is %s: appends stop when it is full; lower retention.bytes", size(kept), size(f.MaxMemory))
	default:
		add("valkey memory", OK, "%s of %s in use; the feeds keep up to %s", size(f.Used), size(f.MaxMemory), size(kept))
	}
	if f.Policy != "" && f.Policy != "noeviction" {
		add("valkey eviction", Warning, "maxmemory-policy is %s; noeviction is the one that never drops a key", f.Policy)
	} else if f.Policy != "" {
		add("valkey eviction", OK, "%s", f.Policy)
	}
	switch {
	case !f.AOF && durability == valkey.DurabilityMemory:
		add("valkey durability", Warning, "no append-only file: a crash of the server loses what came after its last snapshot; it is fetched again as far as the upstream has it")
	case !f.AOF:
		add("valkey durability", Failure, "valkey.durability is %q and the server has no append-only file (appendonly)", durability)
	case f.Fsync == "":
		add("valkey durability", OK, "append-only file; this user may not ask for appendfsync")
	case f.Fsync == "no":
		add("valkey durability", Warning, "appendfsync is no: the system decides when the file is synced")
	default:
		add("valkey durability", OK, "append-only file, appendfsync %s", f.Fsync)
	}
	return all
}
