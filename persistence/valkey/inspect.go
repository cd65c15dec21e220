package valkey

import (
	"context"
	"strconv"
	"strings"

	valkeygo "github.com/valkey-io/valkey-go"
)

// Facts are what a server tells about itself, as far as it does.
type Facts struct {
	Version   string // its name and version, "" if it hides them
	Role      string // "master" or "slave"
	Policy    string // maxmemory-policy
	Used      int64  // bytes of memory in use
	MaxMemory int64  // bytes, 0 for no limit
	AOF       bool   // it keeps an append-only file
	// Fsync is its appendfsync; "" if the user may not ask for it. Appends do not need it.
	Fsync string
}

// Inspect asks the server about itself.
func (v *Store) Inspect(ctx context.Context) (Facts, error) {
	m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Info().Section("server", "replication", "persistence", "memory").Build()
	})
	if err != nil {
		return Facts{}, err
	}
	text, err := decodeText("the information about the server", m)
	if err != nil {
		return Facts{}, v.refuse("%v", err)
	}
	info := parseInfo(text)
	facts := Facts{Role: printable(info["role"]), Policy: printable(info["maxmemory_policy"]), AOF: info["aof_enabled"] == "1"}
	if name, version, known := info.version(); known {
		facts.Version = name + " " + version.String()
	}
	facts.Used, _ = strconv.ParseInt(info["used_memory"], 10, 64)
	facts.MaxMemory, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
	// The configuration is for administrators: its refusal is no fault.
	m, err = v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed { return b.ConfigGet().Parameter("appendfsync").Build() })
	if pairs, mapErr := m.AsStrMap(); err == nil && mapErr == nil {
		facts.Fsync = printable(strings.ToLower(pairs["appendfsync"]))
	}
	return facts, nil
}
