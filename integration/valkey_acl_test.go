package integration_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"tempestd/internal/valkeytest"
)

// leastACL returns the name and the rules of the user in deploy/valkey.acl.
func leastACL(t *testing.T) (name string, rules []string) {
	t.Helper()
	text, err := os.ReadFile("../deploy/valkey.acl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "user" {
			return f[1], f[2:]
		}
	}
	t.Fatal("deploy/valkey.acl has no user")
	return "", nil
}

// A daemon reads its feed with a user that has only the documented permissions. When an operator
// takes a permission away, or when the server refuses for another reason, the daemon repeats the
// server's words: in its log, in the feed's state, and as the reason why it is not ready. It waits,
// restarts nothing, and continues when it is permitted to.
func TestAServerThatRefusesIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.Options{Engine: engine})
			user, rules := leastACL(t)
			allow := func(rules ...string) { server.CLI(append([]string{"ACL", "SETUSER", user, "reset"}, rules...)...) }
			without := func(rule string, more ...string) []string {
				return append(slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return r == rule }), more...)
			}
			sim := simulate(t, 500)
			d := newDaemon(t, sim.url(), onValkey(server))
			d.configure(settings{"valkey.username": quoted(user), "valkey.password": `"change-me"`})

			// A standby without the permission from the start is not ready.
			allow(without("+evalsha")...)
			d.start()
			d.await("store.unavailable")
			d.awaitRefusal("evalsha")
			if s := d.status(); s.State != "standby" {
				t.Errorf("the feed is %s: %s", s.State, s.Reason)
			}
			allow(rules...)
			d.await("feed.live")
			d.awaitStored(500)

			for _, c := range []struct {
				name, words string
				refuse, end func()
			}{
				{"no EVALSHA", "evalsha", func() { allow(without("+evalsha")...) }, func() { allow(rules...) }},
				{"no XADD", "XADD", func() { allow(without("+xadd")...) }, func() { allow(rules...) }},
				{"no HSET", "HSET", func() { allow(without("+hset")...) }, func() { allow(rules...) }},
				{"other keys", "key", func() { allow(without("~tempestd:*", "~tempest:*")...) }, func() { allow(rules...) }},
				{"no memory", "OOM", func() { server.CLI("CONFIG", "SET", "maxmemory", "1") }, func() { server.CLI("CONFIG", "SET", "maxmemory", "0") }},
				{"no replicas", "NOREPLICAS", func() { server.CLI("CONFIG", "SET", "min-replicas-to-write", "1") }, func() { server.CLI("CONFIG", "SET", "min-replicas-to-write", "0") }},
				{"no INFO", "", func() { allow(without("+info")...) }, func() { allow(rules...) }},
			} {
				c.refuse()
				if c.words == "" { // the daemon does not depend on INFO
					d.awaitStored(d.status().Stored + 500)
					if ready, err := d.Ready(t.Context()); err != nil || !ready.Ready {
						t.Errorf("%s: %v, %v", c.name, ready, err)
					}
				} else {
					d.awaitRefusal(c.words)
				}
				c.end()
				d.awaitStored(d.status().Stored + 500)
				eventually(t, c.name+": it is ready again", func() bool {
					ready, err := d.Ready(t.Context())
					return err == nil && ready.Ready
				})
			}
			d.exact(sim)
			if n := len(d.records("actor.failed")) + len(d.records("actor.restarted")); n > 0 {
				t.Errorf("%d failures of actors", n)
			}
			d.stop()
		})
	}
}

// awaitRefusal waits until the log, the feed's state and the readiness contain the server's words.
func (d *daemon) awaitRefusal(words string) {
	d.t.Helper()
	says := func(text string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(words)) }
	eventually(d.t, "it is not ready: "+words, func() bool {
		ready, err := d.Ready(d.t.Context())
		return err == nil && !ready.Ready && says(strings.Join(ready.Reasons, " "))
	})
	eventually(d.t, "the feed's state says: "+words, func() bool { return says(d.status().Reason) })
	eventually(d.t, "the log says: "+words, func() bool {
		for _, r := range d.records("store.unavailable") {
			if text, _ := r["error"].(string); says(text) {
				return true
			}
		}
		return false
	})
}
