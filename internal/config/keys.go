package config

import (
	"cmp"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"tempestd/internal/jetstream"
)

// anyFeed stands for a feed's name in a key's path.
const anyFeed = "*"

// key is one key of the vocabulary.
type key struct {
	path  string // dotted, with anyFeed for a feed's name
	value string // the default as TOML source; "" if there is none
	// example is what the reference shows, commented out, for a key without a default.
	example string
	doc     string // what the reference says above the key
	want    string // the accepted values
	ends    *ends  // of the accepted values, nil without such
	secret  bool   // a variable in the value may be set for the daemon alone
	set     func(s *source, at place, v value) []problem
	show    func(at place) string // as TOML source; "" leaves the key out
	same    func(a, b place) bool // nil for a key whose value is part of another key's
	copy    func(from, to place)  // likewise
	fixed   bool                  // a change needs a restart
}

// draft is a configuration while it is being read: the Config, and the keys whose values become
// part of other keys' values.
type draft struct {
	Config
	tokenFile, readTokenFile, passwordFile, sentinelPasswordFile string
}

// feedDraft is the same for one feed.
type feedDraft struct {
	Feed
	didsFile            string
	accountPasswordFile string
}

// place is where the value of a key is stored.
type place struct {
	draft *draft
	feed  *feedDraft // nil outside [feeds.<name>]
}

// bind makes the functions set and show of a key from its kind and its field.
func bind[T any](k key, of kind[T], field func(place) *T) key {
	k.want, k.ends, k.secret = of.want, of.ends, of.secret
	k.set = func(s *source, at place, v value) []problem {
		t, bad := of.parse(s, v)
		if bad == nil {
			*field(at) = t
		}
		return bad
	}
	k.show = func(at place) string { return of.show(*field(at)) }
	k.same = func(a, b place) bool { return reflect.DeepEqual(*field(a), *field(b)) }
	k.copy = func(from, to place) { *field(to) = *field(from) }
	return k
}

// hidden marks a key that the effective configuration does not show, because its value has become
// part of another key's value.
func hidden(k key) key {
	k.show = func(place) string { return "" }
	k.same, k.copy = nil, nil
	return k
}

// fixed marks keys of which a change needs a restart.
func fixed(all ...key) []key {
	for i := range all {
		all[i].fixed = true
	}
	return all
}

// feedKey is bind for a key of [feeds.<name>].
func feedKey[T any](name, value, doc string, of kind[T], field func(*Feed) *T) key {
	k := key{path: feedsTable + "." + name, value: value, doc: doc}
	return bind(k, of, func(at place) *T { return field(&at.feed.Feed) })
}

// replayWindow returns the key of a feed's replay window. "auto" sets two fields: the window for
// servers that do not report a cursor that is too old, and the flag that accepts the report of
// servers that do.
func replayWindow() key {
	of := orAuto(duration(time.Minute, 30*day))
	return key{
		path: feedsTable + ".replay_window", value: `"auto"`, want: of.want, ends: of.ends,
		doc: `How far back a resume may reach ({range}). After a longer absence the gap is recorded in the stream and the feed goes on live.
"auto" leaves it to v2 servers, which say so when they cannot go back that far. v1 servers do not; there it is 12h.`,
		set: func(s *source, at place, v value) []problem {
			window, bad := of.parse(s, v)
			if bad != nil {
				return bad
			}
			at.feed.ReplayWindowAuto = window == 0
			at.feed.ReplayWindow = cmp.Or(window, silentReplayWindow)
			return nil
		},
		show: func(at place) string {
			if at.feed.ReplayWindowAuto {
				return of.show(0)
			}
			return of.show(at.feed.ReplayWindow)
		},
		same: func(a, b place) bool {
			return a.feed.ReplayWindow == b.feed.ReplayWindow && a.feed.ReplayWindowAuto == b.feed.ReplayWindowAuto
		},
	}
}

// silentReplayWindow is the replay window of "auto" for a server that silently moves a cursor that
// is too old.
const silentReplayWindow = 12 * time.Hour

// feedsTable is the path of every feed's table.
const feedsTable = "feeds." + anyFeed

// table is a section of the file.
type table struct{ path, doc string }

// tables returns all sections, in the order of the reference.
func tables() []table {
	return []table{
		{"log", "The structured log of the daemon itself."},
		{"http", "Where consumers tail, and operators look and control."},
		{"metrics", "The metrics for Prometheus, where a listener of their own is wanted."},
		{"stream", "The store behind all streams."},
		{"valkey", `The Valkey (7.2 or later) or Redis (7.0 or later) that keeps the streams, with backend = "valkey".`},
		{"ha", "How daemons that share a Valkey share the feeds."},
		{"network", "The servers of accounts, from which repairs fetch what was missed, and feeds learn whom an account follows."},
		{feedsTable, `One upstream subscription, and the stream of the same name that it fills. There may be any number; a name has 1 to 64 of
a-z, 0-9, '.', '_' and '-', and starts with a letter or digit.`},
	}
}

// keys returns the vocabulary, in the order of the reference. It must not be changed.
var keys = sync.OnceValue(allKeys)

func allKeys() []key {
	all := slices.Concat(fixed(
		bind(key{path: "data_dir", example: `"/var/lib/tempestd"`, doc: `Where streams and checkpoints are kept. One daemon at a time may hold it.
Default: $STATE_DIRECTORY where systemd sets it, else $XDG_DATA_HOME/tempestd, else ~/.local/share/tempestd.`},
			path(), func(at place) *string { return &at.draft.DataDir }),
	), []key{
		bind(key{path: "shutdown_timeout", value: `"30s"`, doc: `How long a graceful stop may take: stop reading, store what was read, save the checkpoint ({range}).`},
			duration(time.Second, 10*time.Minute), func(at place) *time.Duration { return &at.draft.ShutdownTimeout }),
	}, fixed(
		bind(key{path: "repair", value: `true`, doc: `Fetch events that were missed, as each feed's gap_policy says. false switches all repairs off.`},
			flag(), func(at place) *bool { return &at.draft.Repair }),
	), []key{
		bind(key{path: "log.level", value: `"info"`, doc: `The least level that is logged: "debug", "info", "warn" or "error".`},
			level(), func(at place) *slog.Level { return &at.draft.Log.Level }),
	}, fixed(
		bind(key{path: "log.format", value: `"auto"`, doc: `"json", "text", or "auto": entries of the journal under systemd, text on a terminal, JSON otherwise. The log goes to standard error.`},
			choice("auto", "json", "text"), func(at place) *string { return &at.draft.Log.Format }),
	), httpKeys(), fixed(
		bind(key{path: "stream.backend", value: `"embedded"`, doc: `Where streams are stored. "embedded" keeps them under data_dir and needs nothing else; "valkey" in a server that several daemons,
and any other client, can use. The keys below are about "embedded" alone.`},
			choice(BackendEmbedded, BackendValkey), func(at place) *Backend { return &at.draft.Stream.Backend }),
		bind(key{path: "stream.sync", value: `"batch"`, doc: `When events are forced to the disk. "batch": before each append counts as done, so that a power cut loses nothing that
was shown. "interval": every sync_interval; a power cut may take back what came since, which is then fetched again
and may get other IDs.`},
			choice(SyncBatch, SyncInterval), func(at place) *Sync { return &at.draft.Stream.Sync }),
		bind(key{path: "stream.sync_interval", value: `"1s"`, doc: `With sync = "interval": the time between two syncs ({range}).`},
			duration(10*time.Millisecond, time.Minute), func(at place) *time.Duration { return &at.draft.Stream.SyncInterval }),
		bind(key{path: "stream.min_free", value: `"512MiB"`, doc: `Disk space that must stay free ({range}). Below it appends wait until there is room again; the upstream is the buffer.`},
			size(16*mib, tib), func(at place) *int64 { return &at.draft.Stream.MinFree }),
	))
	return withEnds(slices.Concat(all, fixed(valkeyKeys()...), fixed(networkKeys()...), feedKeys(), repairKeys(), accountKeys()))
}

// feedKeys returns the keys of [feeds.<name>].
func feedKeys() []key {
	return []key{
		feedKey("endpoints", "", `Where to subscribe: hosts, or ws:// and wss:// URLs, in order of preference. Required. The public hosts of v2 are
jetstream.us-east.bsky.network and jetstream.us-west.bsky.network; v1 alone is at jetstream1 and jetstream2, both .us-east and .us-west.`,
			unique(list(1, maxEndpoints, endpoint())), func(f *Feed) *[]Endpoint { return &f.Endpoints }),
		feedKey("protocol", `"auto"`, `The upstream's protocol: "v1", "v2", or "auto": what the URL's path says, or else v2 where the server has it.`,
			named(jetstream.ParseProtocol, jetstream.ProtocolAuto, jetstream.ProtocolV1, jetstream.ProtocolV2),
			func(f *Feed) *jetstream.Protocol { return &f.Protocol }),
		feedKey("compress", `"auto"`, `How messages are packed on the wire: "off", "zstd", "deflate" (v1 only), or "auto": zstd over wss where there is a dictionary. It halves
the bytes and costs more processor time than all the rest; what an upstream cannot do degrades to "off".`,
			named(jetstream.ParseCompression, jetstream.CompressAuto, jetstream.CompressOff, jetstream.CompressZstd, jetstream.CompressDeflate),
			func(f *Feed) *jetstream.Compression { return &f.Compress }),
		bind(key{path: feedsTable + ".zstd_dictionary", example: `"v1.zdict"`, doc: `A file with the zstd dictionary of v1 servers, which they do not give out. v2 servers do: theirs is fetched, and kept under data_dir.`},
			path(), func(at place) *string { return &at.feed.ZstdDictionary }),
		feedKey("raw", `false`, `Keep v2 messages as they are, envelope and all, instead of in the shape that v1 and v2 share.`,
			flag(), func(f *Feed) *bool { return &f.Raw }),
		feedKey("kinds", `[]`, `Only events of these kinds: "commit", "identity", "account", "sync". [] takes all.`,
			unique(list(0, 4, choice("commit", "identity", "account", "sync"))), func(f *Feed) *[]string { return &f.Kinds }),
		feedKey("collections", `[]`, `Only commits of these collections; "app.bsky.graph.*" takes all below. [] takes all. Identity and account events always come.
Up to 100 are asked of the server; with more, everything is read and filtered here.`,
			unique(list(0, maxCollections, collection())), func(f *Feed) *[]string { return &f.Collections }),
		feedKey("dids", `[]`, `Only events of these accounts; [] takes all. Up to 10 000, together with dids_file, are asked of the server; with more, up to
1 000 000, everything is read and filtered here.`,
			unique(list(0, maxDIDs, did())), func(f *Feed) *[]string { return &f.DIDs }),
		hidden(bind(key{path: feedsTable + ".dids_file", example: `"dids.txt"`, doc: `A file with more of them, one a line; '#' begins a comment. It is read at the start, and again by a reload.`},
			path(), func(at place) *string { return &at.feed.didsFile })),
		feedKey("backoff", `["1s", "2s", "5s", "10s", "30s"]`, `The waits before the first, second, third … attempt to reconnect, with some jitter ({range} each). The last is repeated;
a healthy period begins anew.`,
			list(1, 32, duration(10*time.Millisecond, time.Hour)), func(f *Feed) *[]time.Duration { return &f.Backoff }),
		feedKey("start", `"live"`, `Where a feed begins that has no position yet; one that has a position ignores it. "live": with what comes from now on. "earliest": with
the oldest event of the server's socket (some 36h at the public hosts). "archive": with the oldest event of the server's archive (v2).
A time ("2026-11-01T00:00:00Z") or a duration ("7d"): there, from the socket if that reaches so far, else from the archive.`,
			start(), func(f *Feed) *Start { return &f.Start }),
		replayWindow(),
		feedKey("rewind", `"10s"`, `How much further back than needed a resume by time begins ({range}); what the stream holds already is dropped.`,
			duration(0, time.Hour), func(f *Feed) *time.Duration { return &f.Rewind }),
		feedKey("dedupe", `"always"`, `When events are compared with what is stored. "always": at all times, also where a server repeats itself on a live connection.
"overlap": only while a replay overlaps the stream; repeats on a live connection are then stored twice.`,
			choice(DedupeAlways, DedupeOverlap), func(f *Feed) *Dedupe { return &f.Dedupe }),
		feedKey("dedupe_horizon.entries", `3_000_000`, `How many of the newest entries a replay is compared with ({range}; about 16 bytes of memory each, only
while a replay lasts) and how old they may be ({range dedupe_horizon.age}).`,
			count(1_000, 100_000_000), func(f *Feed) *int { return &f.DedupeHorizon.Entries }),
		feedKey("dedupe_horizon.age", `"48h"`, "",
			duration(time.Minute, 30*day), func(f *Feed) *time.Duration { return &f.DedupeHorizon.Age }),
		feedKey("checkpoint_interval", `"5s"`, `How often the checkpoint of an idle stretch is saved ({range}). Every append saves one as well.`,
			duration(100*time.Millisecond, 10*time.Minute), func(f *Feed) *time.Duration { return &f.CheckpointInterval }),
		feedKey("stale_after", `"auto"`, `Silence after which a connection is given up ({range}). "auto" judges by the feed's own rhythm: seconds for a busy feed,
and a quiet one is left alone.`,
			orAuto(duration(500*time.Millisecond, 7*day)), func(f *Feed) *time.Duration { return &f.StaleAfter }),
		feedKey("blind_after", `"auto"`, `How long a host may send other frames but no commits ({range}). One that sends none for longer is taken for blind: the next endpoint
is connected to, from the last commit on. "auto" judges by the feed's own history.`,
			orAuto(duration(10*time.Second, 30*day)), func(f *Feed) *time.Duration { return &f.BlindAfter }),
		feedKey("ping_interval", `"15s"`, `How often the connection is pinged ({range}). One that does not answer is half-open and is given up.`,
			duration(100*time.Millisecond, 10*time.Minute), func(f *Feed) *time.Duration { return &f.PingInterval }),
		feedKey("max_message_size", `"4MiB"`, `The largest event that is taken ({range}). Servers are asked to leave larger ones out, which they do without a word. The largest
record the network allows has about 1 MB, up to three times that as JSON.
One that is sent all the same is passed over, and recorded as a gap.`,
			size(64*kib, 16*mib), func(f *Feed) *int64 { return &f.MaxMessageSize }),
		feedKey("batch_events", `8_192`, `The most events ({range}) and bytes ({range batch_bytes}) of one append, and how long an event may wait for others ({range batch_delay}).
At 1000 events a second readers see 99 of 100 events within 5 ms; with "25ms" within 27 ms, for less than half the processor
time, an eighth of the syncs, and two thirds of the disk until segments are packed.`,
			count(1, 65_536), func(f *Feed) *int { return &f.BatchEvents }),
		feedKey("batch_bytes", `"4MiB"`, "",
			size(64*kib, 64*mib), func(f *Feed) *int64 { return &f.BatchBytes }),
		feedKey("batch_delay", `"3ms"`, "",
			duration(0, 10*time.Second), func(f *Feed) *time.Duration { return &f.BatchDelay }),
		feedKey("retention.age", `"7d"`, `What the stream keeps; whichever bound is met first counts, and 0 sets none ("0s", "0B", 0). The whole network fills 20GiB in
one or two days. What is left out keeps its default.`,
			orNone(`"0s"`, duration(time.Minute, 3650*day)), func(f *Feed) *time.Duration { return &f.Retention.Age }),
		feedKey("retention.bytes", `"20GiB"`, "",
			orNone(`"0B"`, size(mib, 1024*tib)), func(f *Feed) *int64 { return &f.Retention.Bytes }),
		feedKey("retention.entries", `0`, "",
			count[int64](0, 1_000_000_000_000), func(f *Feed) *int64 { return &f.Retention.Entries }),
	}
}

// segments returns the parts of a key's path.
func (k key) segments() []string { return strings.Split(k.path, ".") }

// matches reports whether path and the key's path are equal up to the end of the shorter one.
func (k key) matches(path []string) bool {
	for i, s := range k.segments() {
		if i == len(path) {
			return true
		}
		if s != path[i] && s != anyFeed {
			return false
		}
	}
	return true
}
