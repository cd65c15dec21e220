package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"tempestd/internal/jetstream"
)

// finish checks the rules that involve several keys. incomplete is true when syntax errors may have
// hidden a part of the document.
func (l *loader) finish(incomplete bool) {
	l.finishValkey()
	if len(l.feeds) == 0 && !incomplete && !l.wrong("feeds") && l.draft.HA.Candidate {
		l.report(0, "feeds", "no feed is configured", `want at least one [feeds.<name>] with endpoints = ["host"]`)
	}
	if l.draft.DataDir == "" {
		l.report(l.lines["data_dir"], "data_dir", `found ""`, "want a path, or no data_dir for the default")
	}
	l.finishTokens()
	for name, f := range l.feeds {
		if f != nil {
			l.finishFeed(name, f)
		}
	}
}

func (l *loader) finishFeed(name string, f *feedDraft) {
	report := func(key, found, want string) {
		full := showPath([]string{"feeds", name, key})
		if !l.wrong(full) {
			l.report(cmp.Or(l.lines[full], l.lines["feed "+name]), full, found, want)
		}
	}
	if len(f.Endpoints) == 0 {
		report("endpoints", "missing", `want an array of hosts or URLs, such as ["jetstream.us-east.bsky.network"]`)
	}
	if len(f.DIDs) > maxDIDs {
		report("dids_file", fmt.Sprintf("found %d DIDs together with dids", len(f.DIDs)), fmt.Sprintf("want %d at most", maxDIDs))
	}
	for _, err := range jetstream.ValidateFilter(jetstream.Filter{Collections: f.Collections, DIDs: f.DIDs, Kinds: f.Kinds}, f.Protocol) {
		if bad, ok := errors.AsType[*jetstream.FilterError](err); ok {
			report(bad.List, "servers say: "+bad.Reason, "want a filter that servers accept")
		}
	}
	if _, archive := f.Start.(StartArchive); archive && !slices.ContainsFunc(f.Endpoints, func(e Endpoint) bool { return MayHaveArchive(f.Protocol, e.Protocol()) }) && len(f.Endpoints) > 0 {
		report("start", `found "archive", and no endpoint of v2, which alone has one`, `want a v2 endpoint, or "earliest"`)
	}
	if f.ZstdDictionary != "" {
		if _, err := readBounded(f.ZstdDictionary, maxDictionary); err != nil {
			report("zstd_dictionary", reason(err), "want a readable file with a zstd dictionary")
		}
	}
	finishRepair(f, report)
	finishAccount(f, report)
	if f.Rewind >= f.ReplayWindow {
		report("rewind", "found "+showDuration(f.Rewind), "want less than replay_window, which is "+showDuration(f.ReplayWindow))
	}
}

// wrong reports whether something is already said about a key.
func (l *loader) wrong(key string) bool {
	is := func(e *Error) bool { return e.Key == key }
	return slices.ContainsFunc(l.errs.List, is) || slices.ContainsFunc(l.draft.Unresolved, is)
}
