package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"tempestd/messages"
)

// GapPolicy says what is done about a gap.
type GapPolicy string

// Values of GapPolicy.
const (
	GapsRecord GapPolicy = "record" // nothing, until an operator orders its repair
	GapsRepair GapPolicy = "repair" // its events are fetched
	GapsStop   GapPolicy = "stop"   // the feed pauses until an operator decides
)

// Repair says how a feed's gaps are repaired.
type Repair struct {
	Policy  GapPolicy
	Sources []messages.GapSource // in the order in which they are asked
	Budget  int64                // the most bytes that are downloaded for a gap; 0 sets no bound
	Pace    int                  // the most events a second that are appended; 0 sets no bound
	// ArchiveKeys are the keys of archives, by the endpoint's host, "host:port".
	ArchiveKeys map[string]Secret
}

// repairKeys returns the keys of [feeds.<name>] about gaps.
func repairKeys() []key {
	return []key{
		feedKey("gap_policy", `"repair"`, `What is done about events that were missed. "repair": they are fetched in the background from where they still exist. "record":
nothing, until "tempestd gaps repair". "stop": the feed pauses until a gap is repaired or dismissed that way.`,
			choice(GapsRecord, GapsRepair, GapsStop), func(f *Feed) *GapPolicy { return &f.Repair.Policy }),
		feedKey("repair_sources", `["socket", "archive", "accounts", "timeline"]`, `Where missed events are fetched from, in this order. "socket": the endpoints' replay, with every event. "archive": a v2 endpoint's
archive, without overtaken versions. "accounts": the accounts' own servers, with the records as they are now. "timeline": that of a
feed's account.`,
			unique(list(0, len(messages.GapSources), choice(messages.GapSources...))), func(f *Feed) *[]messages.GapSource { return &f.Repair.Sources }),
		feedKey("repair_budget", `"10GiB"`, `The most that is downloaded from archives for one gap ({range}); "0B" sets no bound.`,
			orNone(`"0B"`, size(mib, 1024*tib)), func(f *Feed) *int64 { return &f.Repair.Budget }),
		feedKey("repair_pace", `0`, `The most events a second that repairs append ({range}); 0 sets no bound. Live events go first in any case.`,
			count(0, 1_000_000), func(f *Feed) *int { return &f.Repair.Pace }),
		archiveKeys(),
	}
}

const (
	archiveKeysName  = "archive_keys"
	archiveKeyFile   = "file"
	wantArchiveKeys  = `want a table of hosts of the feed's endpoints: { "host" = "key" } or { "host" = { file = "path" } }`
	maskedArchiveKey = `"` + mask + `"`
)

// archiveKeys returns the key whose value is a table of hosts. loader.archiveKey reads it.
func archiveKeys() key {
	return key{
		path: feedsTable + "." + archiveKeysName, want: wantArchiveKeys,
		example: `{ "jetstream.us-east.bsky.network" = "${TEMPESTD_ARCHIVE_KEY}" }`,
		doc: `The keys of the endpoints' archives, by host. A key is sent to that host's archive alone. It may be in a file of its own:
{ "jetstream.us-east.bsky.network" = { file = "${CREDENTIALS_DIRECTORY}/archive" } }`,
		set: func(_ *source, _ place, v value) []problem {
			return []problem{{line: v.line, found: "found " + v.String(), want: wantArchiveKeys}}
		},
		same: func(a, b place) bool { return reflect.DeepEqual(a.feed.Repair.ArchiveKeys, b.feed.Repair.ArchiveKeys) },
		show: func(at place) string {
			keys := at.feed.Repair.ArchiveKeys
			if len(keys) == 0 {
				return ""
			}
			var fields []string
			for _, host := range slices.Sorted(maps.Keys(keys)) {
				fields = append(fields, strconv.Quote(host)+" = "+maskedArchiveKey)
			}
			return "{ " + strings.Join(fields, ", ") + " }"
		},
	}
}

// archiveKey reads an entry of a feed's archive_keys. It returns false for every other entry.
func (l *loader) archiveKey(e entry) bool {
	if len(e.path) < 3 || e.path[0] != "feeds" || e.path[2] != archiveKeysName || len(e.path) == 3 && !e.table {
		return false
	}
	f, ok := l.feedOf(e)
	if !ok {
		return true
	}
	name := showPath(e.path[:3])
	deep := len(e.path) - 3
	switch {
	case e.array, deep > 2, deep == 2 && (e.table || e.path[4] != archiveKeyFile):
		l.report(e.line, name, "found something else", wantArchiveKeys)
		return true
	case e.table && deep == 0:
		l.again(e.line, name)
		return true
	case e.table: // of a host, with its file
		return true
	}
	endpoint, err := ParseEndpoint(e.path[3])
	if err != nil {
		l.report(e.line, name, "found a name that is no host", wantArchiveKeys)
		return true
	}
	given := l.readArchiveKey(e.value, name, deep == 2)
	if _, again := f.Repair.ArchiveKeys[endpoint.Host()]; again {
		l.report(e.line, name, "found two keys of "+endpoint.Host(), "want one")
	}
	if f.Repair.ArchiveKeys == nil {
		f.Repair.ArchiveKeys = map[string]Secret{}
	}
	f.Repair.ArchiveKeys[endpoint.Host()] = given
	return true
}

// readArchiveKey reads a key from its value, or from the file that the value names.
func (l *loader) readArchiveKey(v value, name string, file bool) (given Secret) {
	v, bad := l.source.expandAll(v)
	at := ""
	switch {
	case bad != nil:
	case file:
		at, bad = path().parse(&l.source, v)
	default:
		given, bad = secret().parse(&l.source, v)
	}
	l.reportAll(name, bad, true)
	if bad == nil && file {
		given = l.readSecret(v.line, name, at, "key")
	}
	return given
}

// finishRepair checks that each archive key is of one of the feed's endpoints: a key must go to no
// other host.
func finishRepair(f *feedDraft, report func(key, found, want string)) {
	for _, host := range slices.Sorted(maps.Keys(f.Repair.ArchiveKeys)) {
		if !slices.ContainsFunc(f.Endpoints, func(e Endpoint) bool { return e.Host() == host }) {
			report(archiveKeysName, fmt.Sprintf("found a key of %s", host), "want keys of the feed's endpoints alone")
		}
	}
}
