package persistence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// Health implements Store: the server is asked, within the command timeout. It must be new enough, have read its data, take writes, and not be set up to
// evict streams when its memory is full.
func (v *Valkey) Health() error {
	m, err := v.do(context.Background(), func(b valkey.Builder) valkey.Completed {
		return b.Info().Section("server", "replication", "persistence", "memory").Build()
	})
	if err != nil {
		return err
	}
	text, _ := m.ToString()
	info := parseInfo(text)
	switch {
	case info["loading"] == "1":
		return &UnavailableError{Store: v.where(), Reason: "loading", Err: errors.New("it reads its data")}
	case info["role"] == "slave" && info["redis_mode"] != "cluster" && info["server_mode"] != "cluster": // of a cluster any node may have answered
		return &UnavailableError{Store: v.where(), Reason: "readonly", Err: errors.New("it is a replica")}
	}
	return info.check()
}

// serverInfo is what a server says of itself, by name.
type serverInfo map[string]string

func parseInfo(text string) serverInfo {
	info := make(serverInfo)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// check refuses a server that lacks what the store is built on, or that would drop what is stored.
func (i serverInfo) check() error {
	name, version, major, minor := "Valkey", i["valkey_version"], 7, 2
	if version == "" {
		name, version, major, minor = "Redis", i["redis_version"], 7, 0
	}
	var ma, mi int
	// A server that hides its version is taken at its word.
	if _, err := fmt.Sscanf(version, "%d.%d", &ma, &mi); err == nil && (ma < major || ma == major && mi < minor) {
		return fmt.Errorf("the server is %s %.20s; accepted: Valkey 7.2 or later, Redis 7.0 or later", name, version)
	}
	policy := i["maxmemory_policy"]
	if limit, _ := strconv.ParseInt(i["maxmemory"], 10, 64); limit > 0 && strings.HasPrefix(policy, "allkeys-") {
		return fmt.Errorf("the server evicts streams when its memory is full: its maxmemory-policy is %.30s; accepted: noeviction", policy)
	}
	return nil
}
