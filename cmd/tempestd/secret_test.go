package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secrets have the shapes of real secrets. No output may show a piece of one.
var secrets = []string{"S3cr3t.hUnter2-x9Qw", "correcthorsebatterystaple", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ", "9f86d081884c7d659a2feaa0c55ad015", "c2VjcmV0LXBhc3N3b3Jk=="}

// showsPiece returns a piece of the secret that the text shows, or "" if it shows none.
func showsPiece(text, secret string) string {
	const piece = 7
	for i := 0; i+piece <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+piece]) {
			return secret[i : i+piece]
		}
	}
	return ""
}

// misplaced lists configurations with a secret, S, that is in a wrong place, cut in two, or
// malformed.
var misplaced = []string{
	// Endpoints.
	`[feeds.a]` + "\n" + `endpoints = ["wss:/user:S@host"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss:user:S@host"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://u:p/S@host"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://u:S/w@host"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://S@host@other"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://host?token=S"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://host/subscribe#S"]`,
	`[feeds.a]` + "\n" + `endpoints = ["https://u:S@host"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://user:S"]`,
	`[feeds.a]` + "\n" + `endpoints = ["u:S@host:port"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://u:S%zz@host"]`,
	`[feeds.a]` + "\n" + `endpoints = ["wss://u:S@host", "wss://u:S@host/x"]`, // accepted
	`[feeds.a]` + "\n" + `endpoints = "wss://u:S@host"`,
	`[feeds.a]` + "\n" + `endpoints = [{ url = "S" }]`,
	// Valkey.
	"[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = [\"redis://:S@127.0.0.1:6379\"]",
	"[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = [\":S@127.0.0.1:6379\"]",
	"[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = \"S\"",
	"[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = [\"127.0.0.1:6379\"]\nprefix = \"{S}\"",
	"[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = [\"127.0.0.1:6379\"]\nusername = \"a S\"",
	"[valkey]\npassword = \"S x\"", "[valkey]\npassword = [\"S\"]", "[valkey]\npassword_file = \"S\"", "[valkey]\nmode = \"S\"", "[valkey]\nfields = [\"S\"]", "[valkey]\ndatabase = \"S\"",
	"[valkey]\ntls_server_name = \"S S\"", "[ha]\nname = \"S S\"", "[ha]\nlease_ttl = \"S\"",
	// The token, and other keys' values.
	"[http]\ntoken = S", "[http]\ntoken = \"S", "[http]\ntoken = 'S", "[http]\ntoken = \"\"\"S", "[http]\ntoken = { S = 1 }", "[http]\ntoken = \"S\"\ntoken = \"S\"", "[http]\ntoken = \"${S}\"", "[http]\ntoken = \"${S\"",
	"[http]\ntoken = \"S\" S", "[http]\ntoken : \"S\"", "[http]\ntokn = \"S\"", "[http]\nS = 1", "[http]\nS", "[http]\n\"S\" = \"S\"", "token = \"S\"", "[S]\nx = 1", "[http.S]", "[feeds.\"S S\"]",
	"[http]\nlisten = \"S\"", "[http]\nlisten = \"u:S@127.0.0.1:1\"", "[http]\nallowed_origins = [\"https://u:S@app.example\"]", "[http]\nallowed_origins = [\"https://app.example/?S\"]", "[http]\ndefault_stream = \"S \"",
	"[http]\nmax_tails = \"S\"", "[http]\ntoken_file = \"S\"", "[http]\ntoken_file = [\"S\"]", "[log]\nlevel = \"S\"", "[log]\nformat = \"S\"", "shutdown_timeout = \"S\"", "data_dir = \"~S\"", "data_dir = \"\\u0000S\"",
	"[stream]\nmin_free = \"S\"", "[stream]\nbackend = \"S\"", "a = 1\n[a]\nS = 1", "[log]\nlevel.S = \"info\"", "log = { level = \"info\" }\n[log]\nS = 1",
	"[feeds.a]\nendpoints = [\"h\"]\nkinds = [\"S\"]", "[feeds.a]\nendpoints = [\"h\"]\ncollections = [\"S!\", \"S!.*\"]", "[feeds.a]\nendpoints = [\"h\"]\ndids = [\"S\", \"did:S\"]", "[feeds.a]\nendpoints = [\"h\"]\ndids_file = \"FILE\"",
	"[feeds.a]\nendpoints = [\"h\"]\nzstd_dictionary = \"S\"", "[feeds.a]\nendpoints = [\"h\"]\nbackoff = [\"S\"]", "[feeds.a]\nendpoints = [\"h\"]\ndedupe = \"S\"", "[feeds.a]\nendpoints = [\"h\"]\nraw = \"S\"", "[feeds.a]\nendpoints = [\"h\"]\nretention = \"S\"",
	"[feeds.a]\nendpoints = [\"h\"]\nreplay_window = \"S\"", "[feeds.a]\nendpoints = [\"h\"]\nprotocol = \"S\"",
}

func TestI10_NoSecretShowsHoweverItIsMisplaced(t *testing.T) {
	dir := t.TempDir()
	for n, secret := range secrets {
		list := filepath.Join(dir, fmt.Sprint("list", n))
		if err := os.WriteFile(list, []byte("password = "+secret+"\n"+secret+"\ndid:"+secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, text := range misplaced {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "FILE", list), "S", secret)
			path := file(t, "config.toml", text+"\n")
			for _, args := range [][]string{{"check", "-c", path}, {"status", "-c", path, "--addr", "127.0.0.1:1"}} {
				p := run(t, args...)
				if piece := showsPiece(p.out.String()+p.err.String(), secret); piece != "" {
					t.Errorf("%s shows %q of the secret in\n%s\nexit %d\n%s%s", args[0], piece, text, p.code, p.out, p.err)
				}
			}
		}
		for _, args := range [][]string{
			{"status", "--addr", "http://u:" + secret + "@h"}, {"status", "--addr", "http://h/?token=" + secret}, {"status", "--addr", "http://h#" + secret}, {"status", "--addr=redis://:" + secret},
			{"tail", "sky", "--after", secret}, {"tail", "sky", "-n", secret}, {"tail", "sky", "--since=" + secret}, {"tail", "sky", "--kinds", secret}, {"tail", "sky", secret}, {"status", secret}, {"run", secret},
			{"status", "--interval", secret}, {"simulate", "--rate", secret}, {"simulate", "--fault", secret}, {"simulate", "--protocol", secret}, {"consumer", secret}, {"gaps", "--state", secret}, {"gaps", secret}, {"consumer", "next", "sky", "x", "--limit", secret},
			{"demo", "--for", secret}, {secret}, {"status", "--token-file", "/nonexistent/" + url.PathEscape(secret)[:3]},
		} {
			p := run(t, args...)
			if piece := showsPiece(p.out.String()+p.err.String(), secret); piece != "" {
				t.Errorf("%v shows %q: exit %d\n%s%s", args, piece, p.code, p.out, p.err)
			}
		}
		for _, env := range [][]string{{"TEMPESTD_TOKEN", secret}, {"TEMPESTD_TOKEN", secret + "\n"}, {"TEMPESTD_TOKEN", "\x00" + secret}} {
			for _, args := range [][]string{{"status", "--addr", "127.0.0.1:1"}, {"tail", "sky", "--addr", "127.0.0.1:1"}, {"check"}} {
				p := execIn(context.Background(), env, args...)
				if piece := showsPiece(p.out.String()+p.err.String(), secret); piece != "" {
					t.Errorf("%v with %q in the environment: %s%s", args, env, p.out, p.err)
				}
			}
		}
	}
}
