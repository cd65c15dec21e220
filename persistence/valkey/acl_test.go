package valkey_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// leastACL returns the user that the documentation recommends for a daemon: its name and its rules.
func leastACL(t *testing.T) (name string, rules []string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/valkey.acl")
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

// onBothEngines runs a test with Valkey and with Redis.
func onBothEngines(t *testing.T, opt valkeytest.Options, test func(t *testing.T, server *valkeytest.Server)) {
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			o := opt
			o.Engine = engine
			test(t, valkeytest.Start(t, o))
		})
	}
}

// setUser sets the rules of that user on the server.
func setUser(t *testing.T, server *valkeytest.Server, rules []string) valkey.Options {
	t.Helper()
	name, _ := leastACL(t)
	// The server disconnects a user that loses rules of something it uses.
	server.CLI(append([]string{"ACL", "SETUSER", name, "reset"}, rules...)...)
	return valkey.Options{Addresses: []string{server.Addr}, Username: name, Password: "change-me", Mode: "standalone"}
}

// The contract holds for the user that the documentation recommends, on every kind of server.
func TestContractWithTheLeastACL(t *testing.T) {
	t.Parallel()
	_, rules := leastACL(t)
	// The suite gives each of its stores a prefix.
	rules = slices.Clone(rules)
	rules[slices.Index(rules, "~tempestd:*")] = "~t*:*"
	onBothEngines(t, valkeytest.Options{}, func(t *testing.T, server *valkeytest.Server) {
		opt := setUser(t, server, rules)
		opt.Mode = "auto"
		contract(t, opt)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		nodes := valkeytest.Cluster(t, valkeytest.Options{}, 3)
		var opt valkey.Options
		for _, n := range nodes {
			opt = setUser(t, n, append(slices.Clone(rules), "+cluster|slots", "+cluster|shards"))
		}
		opt.Addresses, opt.Mode = valkeytest.Addresses(nodes), "cluster"
		contract(t, opt)
	})
}

// everyUse returns everything that a daemon does with a store, by name.
func everyUse(v *valkey.Store, s persistence.Stream, lease messages.Lease, batch func() *messages.Batch) map[string]func(context.Context) error {
	node := messages.Node{ID: "a", Name: "daemon a"}
	fingerprints := func(ctx context.Context) error {
		return s.Fingerprints(ctx, persistence.Horizon{}, func(b persistence.FingerprintBlock) bool { return true })
	}
	return map[string]func(context.Context) error{
		"open": func(ctx context.Context) error {
			_, err := v.OpenStream(ctx, "other", persistence.StreamOptions{})
			return errors.Join(err, v.Health())
		},
		"delete": func(ctx context.Context) error {
			_, err := v.OpenStream(ctx, "gone", persistence.StreamOptions{})
			return errors.Join(err, ignore(v.DeleteStream(ctx, "gone"), persistence.ErrNoStream))
		},
		"health":  func(context.Context) error { return v.Health() },
		"streams": func(ctx context.Context) error { _, err := v.Streams(ctx); return err },
		"stream": func(ctx context.Context) error {
			_, err := v.Stream(ctx, "missing")
			return ignore(err, persistence.ErrNoStream)
		},
		"append":     func(ctx context.Context) error { _, err := s.Append(ctx, batch(), seq(1)); return err },
		"info":       func(ctx context.Context) error { _, err := s.Info(ctx); return err },
		"checkpoint": func(ctx context.Context) error { _, err := s.Checkpoint(ctx); return err },
		"read": func(ctx context.Context) error {
			_, err := s.Read(ctx, persistence.FromBeginning(), persistence.CursorAt(messages.MaxEntryID), 10)
			return err
		},
		"tail": func(ctx context.Context) error {
			// A reader at the tip. An append ends its wait.
			info, err := s.Info(ctx)
			if err != nil || info.Newest == nil {
				return err
			}
			if _, err := s.Tail(ctx, persistence.CursorAt(*info.Newest), 0, 1); err != nil {
				return err
			}
			done := make(chan error, 1)
			go func() {
				_, err := s.Tail(ctx, persistence.CursorAt(*info.Newest), 200*time.Millisecond, 1)
				done <- err
			}()
			for {
				select {
				case err := <-done:
					return err
				case <-time.After(5 * time.Millisecond):
					_, _ = s.Append(ctx, batch(), seq(1))
				}
			}
		},
		"fingerprints": fingerprints,
		"entry": func(ctx context.Context) error {
			info, err := s.Info(ctx)
			if err != nil || info.Newest == nil {
				return err
			}
			_, err = s.Entry(ctx, *info.Newest, 0)
			return ignore(err, persistence.ErrNotFound)
		},
		"trim": func(ctx context.Context) error {
			_, err := s.Trim(ctx, persistence.Retention{Entries: 1_000_000})
			return err
		},
		"save": func(ctx context.Context) error { return v.SaveCheckpoint(ctx, "feed", seq(1)) },
		"load": func(ctx context.Context) error {
			_, err := v.LoadCheckpoint(ctx, "feed")
			return ignore(err, persistence.ErrNoCheckpoint)
		},
		"acquire": func(ctx context.Context) error {
			return claim(v.Acquire(ctx, "feed", messages.Node{ID: "b", Name: "b"}, time.Minute))
		},
		"claim": func(ctx context.Context) error {
			l, err := v.Acquire(ctx, "claimed", node, time.Minute)
			return errors.Join(err, v.Release(ctx, l))
		},
		"renew":    func(ctx context.Context) error { return v.Renew(ctx, lease, time.Minute) },
		"announce": func(ctx context.Context) error { return v.Announce(ctx, node, time.Minute) },
		"nodes":    func(ctx context.Context) error { _, err := v.Nodes(ctx); return err },
		"owners":   func(ctx context.Context) error { _, err := v.Owners(ctx, []string{"feed"}); return err },
		"withdraw": func(ctx context.Context) error { return v.Withdraw(ctx, "a") },
		"consumer": func(ctx context.Context) error {
			_, err := v.Consumer(ctx, "feed", "c")
			return ignore(err, persistence.ErrNoConsumer)
		},
		"consumers": func(ctx context.Context) error { _, err := v.Consumers(ctx, "feed"); return err },
		"make a consumer": func(ctx context.Context) error {
			_, err := v.UpdateConsumer(ctx, "feed", "c", func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) {
				return &persistence.ConsumerState{}, nil
			})
			return err
		},
		"unmake a consumer": func(ctx context.Context) error {
			_, err := v.UpdateConsumer(ctx, "feed", "c", func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) { return nil, nil })
			return err
		},
		"gaps": func(ctx context.Context) error { _, err := s.Gaps(ctx); return err },
		"save a gap": func(ctx context.Context) error {
			return s.SaveGaps(ctx, []messages.GapRow{{ID: "a", Version: 1}})
		},
		"close": func(ctx context.Context) error {
			other, err := v.Stream(ctx, "closed")
			if err != nil {
				return ignore(err, persistence.ErrNoStream)
			}
			return other.Close(ctx, "done")
		},
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func reason(err error) string {
	if away, ok := errors.AsType[*persistence.UnavailableError](err); ok {
		return away.Reason
	}
	return ""
}

func claim(_ messages.Lease, err error) error {
	if _, ok := errors.AsType[*persistence.HeldError](err); ok {
		return nil
	}
	return err
}

// The user lacks one of its permissions at a time, or has the wrong keys. Then every operation that
// needs it, and the health, return "the store refuses" and the reason. Nothing fails in another way
// and nothing is lost. When the permission is back, everything continues.
func TestEachPermissionIsMissedInWords(t *testing.T) {
	t.Parallel()
	_, rules := leastACL(t)
	onBothEngines(t, valkeytest.Options{}, func(t *testing.T, server *valkeytest.Server) {
		opt := setUser(t, server, rules)
		opt.OnNotice = func(persistence.Notice) {}
		v := openValkey(t, opt)
		if _, err := v.OpenStream(t.Context(), "closed", persistence.StreamOptions{}); err != nil {
			t.Fatal(err)
		}
		s, lease := openOwned(t, v, "a")
		send := newSender()
		if _, err := s.Append(t.Context(), send.batch(10), seq(1)); err != nil {
			t.Fatal(err)
		}
		retention := s // its trims report the error and are not refused
		uses := everyUse(v, retention, lease, func() *messages.Batch { return new(messages.Batch) })
		for what, use := range uses {
			if err := use(t.Context()); err != nil {
				t.Errorf("%s with all permissions: %v", what, err)
			}
		}
		for _, rule := range rules {
			without := slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return r == rule })
			switch {
			case rule == "~tempestd:*":
				without = append(without, "~tempest:*")
			case !strings.HasPrefix(rule, "+") || rule == "+info":
				continue
			}
			setUser(t, server, without)
			server.CLI("SCRIPT", "FLUSH") // so that the scripts are sent in full
			// A connected client may keep the rules it had when it connected.
			server.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			server.Await("it is noticed", func() bool { return v.Health() != nil && !strings.Contains(v.Health().Error(), "(connection)") })
			refused := 0
			for what, use := range uses {
				err := use(t.Context())
				// The first calls may meet the connection that was cut.
				for away := reason(err); away == "connection"; away = reason(err) {
					err = use(t.Context())
				}
				if err == nil {
					continue
				}
				refused++
				away, ok := errors.AsType[*persistence.UnavailableError](err)
				if !ok || away.Reason != "refused" || !persistence.Temporary(err) || !strings.Contains(err.Error(), "the store refuses: ") || len(err.Error()) > 600 {
					t.Errorf("%s without %s: %v", what, rule, err)
				}
			}
			if refused == 0 {
				t.Errorf("nothing is refused without %s", rule)
			}
			if err := v.Health(); err == nil || !strings.Contains(err.Error(), "the store refuses: ") {
				t.Errorf("the health without %s is %v", rule, err)
			}
			// An append with events. It fails halfway where the permission is missing.
			batch := send.batch(3)
			_, err := s.Append(t.Context(), batch, seq(1))
			if err != nil && !persistence.Temporary(err) {
				t.Errorf("an append without %s: %v", rule, err)
			}
			setUser(t, server, rules)
			if err != nil {
				server.Await("appends work with "+rule+" again", func() bool {
					_, err = s.Append(t.Context(), batch, seq(1))
					if err != nil {
						t.Log(rule, err)
					}
					return err == nil || !persistence.Temporary(err)
				})
				if err != nil {
					t.Fatalf("an append when %s is there again: %v", rule, err)
				}
			}
			send.check(t, s)
		}
		if err := v.Health(); err != nil {
			t.Error(err)
		}
	})
}
