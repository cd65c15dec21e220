package config

import (
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"
)

// httpKeys returns the keys of [http].
func httpKeys() []key {
	http := func(at place) *HTTP { return &at.draft.HTTP }
	return slices.Concat(fixed(
		bind(key{path: "http.listen", value: `"127.0.0.1:7077"`, doc: `host:port of the HTTP listener; "" turns it off. Anything but loopback needs a token.`},
			listen(), func(at place) *string { return &http(at).Listen }),
		bind(key{path: "http.control_socket", value: `"auto"`, doc: `A Unix socket that answers as the listener does, without a token, for those who may open it: root and the daemon's user. The commands
prefer it. "auto" is control.sock under data_dir; "" turns it off.`},
			orAutoPath(), func(at place) *string { return &http(at).ControlSocket }),
		bind(key{path: "http.tls_cert_file", example: `"cert.pem"`, doc: `Speak TLS with this certificate, and the chain behind it (PEM), and tls_key_file. Both are read again when they change.`},
			path(), func(at place) *string { return &http(at).TLSCertFile }),
		bind(key{path: "http.tls_key_file", example: `"${CREDENTIALS_DIRECTORY}/key.pem"`, doc: `Its key (PEM).`},
			path(), func(at place) *string { return &http(at).TLSKeyFile }),
		bind(key{path: "http.token", example: `"${TEMPESTD_TOKEN}"`, doc: `The bearer token that clients must send; none by default. Either here or in a file of its own. It has 16 characters or more where
others can reach the listener. Written as "sha256:" and the hex of its SHA-256 hash, nobody can read it here.`},
			secret(), func(at place) *Secret { return &http(at).Token }),
		bind(key{path: "http.read_token", example: `"${TEMPESTD_READ_TOKEN}"`, doc: `A second token that only reads: it changes nothing, leases no batch of a consumer, and does not see the log. Written as http.token is.`},
			secret(), func(at place) *Secret { return &http(at).ReadToken }),
		hidden(bind(key{path: "http.read_token_file", example: `"${CREDENTIALS_DIRECTORY}/read-token"`, doc: `A file that holds it; white space around it is left out.`},
			path(), func(at place) *string { return &at.draft.readTokenFile })),
	), []key{
		bind(key{path: "http.default_stream", example: `"bluesky"`, doc: `The stream that Jetstream clients get who name none: those of /subscribe and of v2's endpoint. By default the only one there is.`},
			text(wantFeedName, feedName.MatchString), func(at place) *string { return &http(at).DefaultStream }),
		hidden(bind(key{path: "http.token_file", example: `"${CREDENTIALS_DIRECTORY}/token"`, doc: `A file that holds the token; white space around it is left out.`},
			path(), func(at place) *string { return &at.draft.tokenFile })),
		bind(key{path: "http.max_tails", value: `16384`, doc: `How many requests may wait on one stream, or follow it, at one time ({range}); more get 429. One that waits takes some 30 KB.`},
			count(1, 1_000_000), func(at place) *int { return &http(at).MaxTails }),
		bind(key{path: "http.max_tails_per_client", value: `10000`, doc: `How many of them, on all streams, may be one address's ({range}). An IPv6 client is its /64; behind a proxy all clients are one.`},
			count(1, 1_000_000), func(at place) *int { return &http(at).MaxTailsPerClient }),
		bind(key{path: "http.max_connections", value: `20000`, doc: `How many connections may be open at one time ({range}). The longest idle one makes room for a new one, else that gets 503.
It is lowered to what the limit of open files leaves beside store and feeds.`},
			count(16, 1_000_000), func(at place) *int { return &http(at).MaxConnections }),
		bind(key{path: "http.max_connections_per_client", value: `12000`, doc: `How many of them may be one address's ({range}). Those of http.trusted_proxies are not counted this way.`},
			count(1, 1_000_000), func(at place) *int { return &http(at).MaxConnectionsPerClient }),
		bind(key{path: "http.memory", value: `"128MiB"`, doc: `The memory that all readers may use together for their pages, filters and buffers ({range}). One address gets up to three
quarters of what is there, so that others are served too; near the end pages are smaller, and then requests get 503. Ingest has its own.`},
			size(16*mib, tib), func(at place) *int64 { return &http(at).Memory }),
	}, fixed(
		bind(key{path: "http.allowed_origins", value: `[]`, doc: `Origins of web pages, served from elsewhere, that may use the listener from a browser: "https://app.example", "http://localhost:5173",
"https://*.example.org" for all below example.org, "*" for any page. They may read. What changes something is open to those alone that are
written out in full, and with the bearer token, which has to be set. [] is for the daemon's own status page alone.`},
			once(list(0, maxOrigins, origin())), func(at place) *[]string { return &http(at).AllowedOrigins }),
		bind(key{path: "http.allowed_hosts", value: `[]`, doc: `Host names under which a loopback listener answers, besides localhost and loopback addresses: those of a reverse proxy on this machine,
"feeds.example.org", "*.example.org" for all below. Other names are refused, because a web page can point its own name at this machine.`},
			once(list(0, maxOrigins, host())), func(at place) *[]string { return &http(at).AllowedHosts }),
		bind(key{path: "http.trusted_proxies", value: `[]`, doc: `Addresses and networks of reverse proxies, "127.0.0.1", "10.0.0.0/8", whose X-Forwarded-For says which client a request comes from.
Without them all clients of a proxy are one, with one address's part of everything.`},
			list(0, maxOrigins, network()), func(at place) *[]netip.Prefix { return &http(at).TrustedProxies }),

		bind(key{path: "metrics.listen", value: `""`, doc: `host:port of a listener for /metrics, /healthz and /readyz alone, without the token; "" for none. They are at http.listen as well.`},
			listen(), func(at place) *string { return &at.draft.MetricsListen }),
	))
}

// auto is the value that leaves a path to the daemon.
const auto = "auto"

// orAutoPath is path, or auto.
func orAutoPath() kind[string] {
	of := path()
	parse := of.parse
	of.want = `want "auto" or ` + of.want[len("want "):]
	of.parse = func(s *source, v value) (string, []problem) {
		if v.kind == unstable.String && v.text == auto {
			return auto, nil
		}
		return parse(s, v)
	}
	return of
}

// Socket returns the path of the control socket, "" for none.
func (c *Config) Socket() string {
	if c.HTTP.ControlSocket == auto {
		return filepath.Join(c.DataDir, "control.sock")
	}
	return c.HTTP.ControlSocket
}
