package config

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"tempestd/persistence/valkey"
	"time"
)

// valkeyKeys returns the keys of [valkey] and [ha], for a store that several daemons share.
func valkeyKeys() []key {
	v := func(at place) *Valkey { return &at.draft.Valkey }
	ha := func(at place) *HA { return &at.draft.HA }
	return []key{
		bind(key{path: "valkey.addresses", example: `["127.0.0.1:6379"]`, doc: `host:port of the servers: one, some nodes of a cluster, or the sentinels. Required with backend = "valkey".`},
			unique(list(1, 64, hostPort())), func(at place) *[]string { return &v(at).Addresses }),
		bind(key{path: "valkey.mode", value: `"auto"`, doc: `"standalone", "sentinel", "cluster", or "auto": Sentinel where sentinel_master is set, else what the server says.`},
			choice(valkey.ModeAuto, valkey.ModeStandalone, valkey.ModeSentinel, valkey.ModeCluster), func(at place) *string { return &v(at).Mode }),
		bind(key{path: "valkey.sentinel_master", example: `"mymaster"`, doc: `The name that the sentinels know the primary by.`},
			word(), func(at place) *string { return &v(at).SentinelMaster }),
		bind(key{path: "valkey.username", example: `"tempestd"`, doc: `An ACL user; without one the server's default user.`},
			word(), func(at place) *string { return &v(at).Username }),
		bind(key{path: "valkey.password", example: `"${VALKEY_PASSWORD}"`, doc: `Its password. Either here or in a file of its own.`},
			secret(), func(at place) *Secret { return &v(at).Password }),
		hidden(bind(key{path: "valkey.password_file", example: `"${CREDENTIALS_DIRECTORY}/valkey"`, doc: `A file that holds the password; white space around it is left out.`},
			path(), func(at place) *string { return &at.draft.passwordFile })),
		bind(key{path: "valkey.sentinel_username", example: `"sentinel"`, doc: `The user that the sentinels want, where they want one.`},
			word(), func(at place) *string { return &v(at).SentinelUsername }),
		bind(key{path: "valkey.sentinel_password", example: `"${SENTINEL_PASSWORD}"`, doc: `Its password. Either here or in a file of its own.`},
			secret(), func(at place) *Secret { return &v(at).SentinelPassword }),
		hidden(bind(key{path: "valkey.sentinel_password_file", example: `"${CREDENTIALS_DIRECTORY}/sentinel"`, doc: `A file that holds it.`},
			path(), func(at place) *string { return &at.draft.sentinelPasswordFile })),
		bind(key{path: "valkey.database", value: `0`, doc: `The database that is selected ({range}); a cluster has only 0.`},
			count(0, 65_535), func(at place) *int { return &v(at).Database }),
		bind(key{path: "valkey.prefix", value: strconv.Quote(valkey.DefaultPrefix), doc: `What every key begins with; the stream of a feed is <prefix>{<feed>}. Daemons with the same prefix share their streams.`},
			text(`want 1 to 64 printable characters without spaces, { and }`, func(s string) bool { return keyPrefix.MatchString(s) }), func(at place) *string { return &v(at).Prefix }),
		bind(key{path: "valkey.tls", value: `false`, doc: `Speak TLS, checked against the system's certificates or tls_ca_file.`},
			flag(), func(at place) *bool { return &v(at).TLS }),
		bind(key{path: "valkey.tls_ca_file", example: `"ca.pem"`, doc: `Certificates of the authorities that are trusted in place of the system's (PEM).`},
			path(), func(at place) *string { return &v(at).CAFile }),
		bind(key{path: "valkey.tls_cert_file", example: `"client.pem"`, doc: `The certificate that we show (PEM), with tls_key_file.`},
			path(), func(at place) *string { return &v(at).CertFile }),
		bind(key{path: "valkey.tls_key_file", example: `"client.key"`, doc: `Its key (PEM).`},
			path(), func(at place) *string { return &v(at).KeyFile }),
		bind(key{path: "valkey.tls_server_name", example: `"valkey.internal"`, doc: `The name that the server's certificate must have; the address's host by default.`},
			word(), func(at place) *string { return &v(at).ServerName }),
		bind(key{path: "valkey.connect_timeout", value: `"5s"`, doc: `How long a connection may take to be made ({range}).`},
			duration(100*time.Millisecond, time.Minute), func(at place) *time.Duration { return &v(at).ConnectTimeout }),
		bind(key{path: "valkey.command_timeout", value: `"5s"`, doc: `How long a command, or one append, may take before it is asked what became of it ({range}).`},
			duration(100*time.Millisecond, time.Minute), func(at place) *time.Duration { return &v(at).CommandTimeout }),
		bind(key{path: "valkey.durability", value: `"memory"`, doc: `What an append waits for before it counts, and before readers get its entries: "memory": the server's answer; "aof": the sync of its
append-only file; "replicas": that, and replicas that have the append. docs/valkey.md says which fault each survives.`},
			choice(valkey.Durabilities...), func(at place) *string { return &v(at).Durability }),
		bind(key{path: "valkey.replicas", value: `1`, doc: `How many replicas that are, with durability = "replicas" (1 to 16).`},
			count(1, 16), func(at place) *int { return &v(at).Replicas }),
		bind(key{path: "valkey.fields", value: `[]`, doc: `What an entry carries beside "json", the event: any of "did", "kind", "collection", "time_us".`},
			unique(list(0, 4, choice(valkey.EntryFields...))), func(at place) *[]string { return &v(at).Fields }),

		bind(key{path: "ha.enabled", value: `false`, doc: `Several daemons share the feeds that they have in common: each feed has one owner at a time, and another takes over when it goes. Without
it this daemon wants all its feeds for itself, and says so where another has one. Needs backend = "valkey".`},
			flag(), func(at place) *bool { return &ha(at).Enabled }),
		bind(key{path: "ha.name", example: `"reader-1"`, doc: `What this daemon is called in status and logs; the host's name by default.`},
			word(), func(at place) *string { return &ha(at).Name }),
		bind(key{path: "ha.candidate", value: `true`, doc: `false: this daemon owns no feed and only serves readers. It needs no [feeds].`},
			flag(), func(at place) *bool { return &ha(at).Candidate }),
		bind(key{path: "ha.lease_ttl", value: `"10s"`, doc: `How long an owner that is not heard of keeps a feed ({range}).`},
			duration(500*time.Millisecond, 10*time.Minute), func(at place) *time.Duration { return &ha(at).LeaseTTL }),
		bind(key{path: "ha.renew_every", value: `"auto"`, doc: `How often an owner is heard of ({range}, at most half of lease_ttl). "auto" is a third of it.`},
			orAuto(duration(100*time.Millisecond, 5*time.Minute)), func(at place) *time.Duration { return &ha(at).RenewEvery }),
	}
}

var keyPrefix = regexp.MustCompile(`^[!-z|~]{1,64}$`)

// word accepts a name without spaces.
func word() kind[string] {
	return text(`want 1 to 256 printable characters without spaces`, func(s string) bool {
		return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
	})
}

// hostPort accepts a server's address.
func hostPort() kind[string] {
	return text(`want "host:port" such as "127.0.0.1:6379"`, func(s string) bool {
		host, port, err := net.SplitHostPort(s)
		n, portErr := strconv.ParseUint(port, 10, 16)
		return err == nil && host != "" && portErr == nil && n > 0 && !strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == '@' })
	})
}
