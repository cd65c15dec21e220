package valkey_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// A store that was not used yet finds out whether its server would accept an append, without
// writing anything.
func TestHealthNoticesAServerThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	onBothEngines(t, valkeytest.Options{}, func(t *testing.T, server *valkeytest.Server) {
		set := func(name, value string) { server.CLI("CONFIG", "SET", name, value) }
		place := filepath.Join(server.Dir(), "dump.rdb")
		snapshot := func(status string) {
			server.CLI("BGSAVE")
			server.Await("a snapshot is "+status, func() bool {
				out := server.CLI("INFO", "persistence")
				return strings.Contains(out, "rdb_bgsave_in_progress:0") && strings.Contains(out, "rdb_last_bgsave_status:"+status)
			})
		}
		for _, c := range []struct {
			name, words, reason string
			spoil, mend         func()
		}{
			{"full", "OOM command not allowed", "full", func() { set("maxmemory", "1") }, func() { set("maxmemory", "0") }},
			{"without replicas", "NOREPLICAS", "readonly", func() { set("min-replicas-to-write", "1") }, func() { set("min-replicas-to-write", "0") }},
			{"a replica", "it is a replica", "readonly", func() { server.CLI("REPLICAOF", "127.0.0.1", "1") }, func() { server.CLI("REPLICAOF", "NO", "ONE") }},
			{"unable to save", "MISCONF", "full", func() {
				if err := os.MkdirAll(filepath.Join(place, "taken"), 0o700); err != nil {
					t.Fatal(err)
				}
				set("save", "3600 1000000")
				set("stop-writes-on-bgsave-error", "yes")
				snapshot("err")
			}, func() {
				if err := os.RemoveAll(place); err != nil {
					t.Fatal(err)
				}
				snapshot("ok")
			}},
		} {
			c.spoil()
			for _, mode := range []string{"standalone", "auto"} {
				v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, Mode: mode})
				away, ok := errors.AsType[*persistence.UnavailableError](v.Health())
				if !ok || away.Reason != c.reason || !strings.Contains(away.Error(), c.words) {
					t.Errorf("the health of a server that is %s: %v", c.name, v.Health())
				}
			}
			c.mend()
		}
		v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
		if err := v.Health(); err != nil {
			t.Error(err)
		}
		if n := server.CLI("DBSIZE"); n != "0" {
			t.Errorf("%s keys were written", n)
		}
	})
}

// The result of the last append is part of the health, until an append succeeds.
func TestHealthRemembersTheLastAppend(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 200 * time.Millisecond})
	s, _ := openOwned(t, v, "a")
	batch := newSender().batch(1)
	server.Pause()
	if _, err := s.Append(t.Context(), batch, seq(1)); !persistence.Temporary(err) {
		t.Fatalf("got %v", err)
	}
	server.Continue()
	server.Await("the server answers again", func() bool { return v.Health() == nil || strings.Contains(v.Health().Error(), "append to stream feed") })
	if err := v.Health(); err == nil {
		t.Error("an append failed, and the health is good")
	}
	if _, err := appendThrough(t.Context(), s, batch); err != nil {
		t.Fatal(err)
	}
	server.Await("it is healthy again", func() bool { return v.Health() == nil })
}

// For an unknown command a server repeats the arguments, which may contain a password. They are cut
// off (I10). The server's words are never shown as more than a short line of printable text.
func TestI10_WhatAServerSaysIsShownSafely(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{
		"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'the-secret' \r\n": "unknown command 'HELLO'",
		"-NEWS of a version to come\x1b[2J\r\n":                                                          `NEWS of a version to come\x1b[2J`,
		"-WHAT " + strings.Repeat("x", 5000) + "\r\n":                                                    "WHAT xxx",
	} {
		v := openValkey(t, valkey.Options{Addresses: []string{answerAll(t, says)}, Password: "the-secret", CommandTimeout: time.Second})
		err := v.Health()
		if !persistence.Temporary(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "the-secret") || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 500 {
			t.Errorf("%.40q is shown as %v", says, err)
		}
	}
}

// answerAll returns the address of a server that gives every command the same answer.
func answerAll(t *testing.T, says string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if strings.HasPrefix(line, "*") { // a command begins
						if _, err := conn.Write([]byte(says)); err != nil {
							return
						}
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		served.Wait()
	})
	return ln.Addr().String()
}
