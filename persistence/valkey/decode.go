package valkey

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// The decoders of the replies of scripts (scripts.go) and commands: one decoder for each shape. A
// decoder returns an error for a reply that is too short, too long or has a value of a wrong type.

// What the append script does with a chunk.
const (
	appendOK       = "OK"       // stored, now or before
	appendFenced   = "FENCED"   // the writer's lease is not the newest
	appendClosed   = "CLOSED"   // the stream is closed for good
	appendConflict = "CONFLICT" // the stream ends elsewhere
	appendForeign  = "FOREIGN"  // another client has used a greater ID
)

// appendReply is the reply of scriptAppend.
type appendReply struct {
	verdict string
	// Of appendOK: what retention dropped, and why it failed, "" if it did not.
	trimmed persistence.Trimmed
	failed  string
	// Of appendFenced: the stream's epoch, and the holder of its lease, "" for none.
	epoch uint64
	owner string
	// Of appendClosed.
	reason string
	// Of appendConflict: the stream's newest entry. Of appendForeign: the greatest ID in use, and
	// the key where it is in use.
	last persistence.EntryID
	key  string
}

func decodeAppend(m valkeygo.ValkeyMessage) (r appendReply, err error) {
	d := decode("the answer to an append", m)
	switch r.verdict = d.text(); r.verdict {
	case appendOK:
		r.trimmed = persistence.Trimmed{Entries: d.number(), Bytes: d.number()}
		r.failed = d.text()
	case appendFenced:
		r.epoch, r.owner = d.count(), d.text()
	case appendClosed:
		r.reason = d.text()
	case appendConflict:
		r.last = d.id()
	case appendForeign:
		r.key, r.last = d.text(), d.id()
	default:
		if d.err == nil {
			d.err = fmt.Errorf("the append script answered %.80q", r.verdict)
		}
	}
	return r, d.end()
}

func decodeTrim(m valkeygo.ValkeyMessage) (persistence.Trimmed, error) {
	d := decode("the answer to a trim", m)
	trimmed := persistence.Trimmed{Entries: d.number(), Bytes: d.number()}
	return trimmed, d.end()
}

// infoReply is the reply of scriptInfo.
type infoReply struct {
	layout                       string
	last                         persistence.EntryID // the newest entry ever appended
	entries, bytes               int64               // ever appended
	droppedEntries, droppedBytes int64               // dropped by retention
	trimmed                      persistence.EntryID // the newest entry that retention dropped
	closure                      closure
	oldest                       persistence.EntryID // zero if the stream is empty
}

// closure says when and why a stream was closed; it is zero while the stream is open.
type closure struct {
	at     time.Time
	reason string
}

func (d *decoder) closure() closure {
	us, reason := d.number(), d.text()
	if us == 0 {
		return closure{}
	}
	return closure{time.UnixMicro(us).UTC(), reason}
}

func decodeInfo(m valkeygo.ValkeyMessage) (infoReply, error) {
	d := decode("what the stream is", m)
	r := infoReply{layout: d.text(), last: d.id(), entries: d.number(), bytes: d.number(),
		droppedEntries: d.number(), droppedBytes: d.number(), trimmed: d.id(), closure: d.closure(), oldest: d.id()}
	return r, d.end()
}

// pageReply is the reply of scriptPage.
type pageReply struct {
	last, trimmed persistence.EntryID // as in infoReply
	closure       closure
	oldest        persistence.EntryID // zero if the stream is empty
	foreign       bool                // another client may have added entries
	appended      int64               // entries that were ever appended
	limited       bool                // last and appended are of the newest durable entry
	next          *nextBlock          // nil if no block ends after the cursor
}

// nextBlock is the first block that ends after a cursor.
type nextBlock struct {
	following int64 // entries that were appended after the block
	entries   int64 // of the block
	first     persistence.EntryID
	rest      int64 // entries of the block after the cursor; -1 if they are counted from the page
}

func decodePage(m valkeygo.ValkeyMessage) (pageReply, error) {
	d := decode("where a page stands", m)
	r := pageReply{last: d.id(), trimmed: d.id(), closure: d.closure(), oldest: d.id(), foreign: d.number() != 0, appended: d.number(), limited: d.yes()}
	if d.more() {
		r.next = &nextBlock{following: d.number(), entries: d.number(), first: d.id(), rest: d.number()}
	}
	return r, d.end()
}

// endReply is what a writer asks the meta hash for when it opens a stream.
type endReply struct {
	layout string
	end    ending
	// limited says that readers get entries up to shown alone, which are durable.
	limited bool
	shown   persistence.EntryID
}

// endFields are the fields of the meta hash that decodeEnd decodes.
var endFields = []string{"layout", "last", "token", "shown"}

func decodeEnd(m valkeygo.ValkeyMessage) (endReply, error) {
	d := decode("where the stream ends", m)
	r := endReply{layout: d.text(), end: ending{last: d.id(), token: d.text()}}
	r.shown, r.limited = d.limit()
	return r, d.end()
}

// outcomeReply is what a writer asks the meta hash for after an append without an answer.
type outcomeReply struct {
	epoch       uint64
	node, owner string // the holder of the newest lease; node is "" after its release
	end         ending
	checkpoint  string
}

// outcomeFields are the fields of the meta hash that decodeOutcome decodes.
var outcomeFields = []string{"epoch", "node", "owner", "last", "token", "checkpoint"}

func decodeOutcome(m valkeygo.ValkeyMessage) (outcomeReply, error) {
	d := decode("where the stream ends", m)
	r := outcomeReply{epoch: d.count(), node: d.text(), owner: d.text(), end: ending{last: d.id(), token: d.text()}, checkpoint: d.text()}
	return r, d.end()
}

// checkpointReply is a stream's checkpoint as it is stored, "" if there is none, and where the stream
// ends.
type checkpointReply struct {
	checkpoint string
	end        ending
}

// checkpointFields are the fields of the meta hash that decodeCheckpoint decodes.
var checkpointFields = []string{"checkpoint", "last", "token"}

func decodeCheckpoint(m valkeygo.ValkeyMessage) (checkpointReply, error) {
	d := decode("the checkpoint", m)
	r := checkpointReply{checkpoint: d.text(), end: ending{last: d.id(), token: d.text()}}
	return r, d.end()
}

// boundsReply is what a reader may see of a stream.
type boundsReply struct {
	trimmed persistence.EntryID // the newest entry that retention dropped
	shown   persistence.EntryID // the newest durable entry, if limited is set
	limited bool
}

// boundsFields are the fields of the meta hash that decodeBounds decodes.
var boundsFields = []string{"trimmed", "shown"}

func decodeBounds(m valkeygo.ValkeyMessage) (boundsReply, error) {
	d := decode("what a reader may see", m)
	r := boundsReply{trimmed: d.id()}
	r.shown, r.limited = d.limit()
	return r, d.end()
}

// decodeSynced decodes the reply of WAITAOF: whether the server has synced what was written, as 1 or
// 0. How many replicas have done so follows.
func decodeSynced(m valkeygo.ValkeyMessage) (int64, error) {
	d := decode("the answer to WAITAOF", m)
	local := d.number()
	d.number()
	return local, d.end()
}

// acquireReply is the reply of scriptAcquire: the caller's lease, or that of another holder.
type acquireReply struct {
	granted    bool
	epoch      uint64
	node, name string
	left       time.Duration
}

func decodeAcquire(m valkeygo.ValkeyMessage) (acquireReply, error) {
	d := decode("the answer to a claim", m)
	r := acquireReply{granted: d.yes(), epoch: d.count(), node: d.text(), name: d.text(), left: d.millis()}
	return r, d.end()
}

// renewReply is the reply of scriptRenew. epoch and owner are those of the newest lease.
type renewReply struct {
	renewed bool
	epoch   uint64
	owner   string
}

func decodeRenew(m valkeygo.ValkeyMessage) (renewReply, error) {
	d := decode("the answer to a renewal", m)
	r := renewReply{renewed: d.yes(), epoch: d.count(), owner: d.text()}
	return r, d.end()
}

// ownerReply is the newest lease of a stream, which may be over.
type ownerReply struct {
	epoch      uint64
	node, name string
}

// ownerFields are the fields of the meta hash that decodeOwner decodes.
var ownerFields = []string{"epoch", "node", "owner"}

func decodeOwner(m valkeygo.ValkeyMessage) (ownerReply, error) {
	d := decode("the owner", m)
	r := ownerReply{epoch: d.count(), node: d.text(), name: d.text()}
	return r, d.end()
}

// consumerReply is the reply of scriptGetConsumer: the server's time, and the consumer as it is
// stored, "" if there is none.
type consumerReply struct {
	now   time.Time
	state string
}

func decodeConsumer(m valkeygo.ValkeyMessage) (consumerReply, error) {
	d := decode("a consumer", m)
	seconds, micros := d.number(), d.number()
	r := consumerReply{now: time.Unix(seconds, micros*1000).UTC(), state: d.text()}
	return r, d.end()
}

// saveGapsReply is the reply of scriptSaveGaps.
type saveGapsReply struct {
	verdict string // appendOK or appendFenced
	rows    int64  // of appendOK: the rows of the ledger
	// Of appendFenced: as in appendReply.
	epoch uint64
	owner string
}

func decodeSaveGaps(m valkeygo.ValkeyMessage) (r saveGapsReply, err error) {
	d := decode("the answer to a change of the gaps", m)
	switch r.verdict = d.text(); r.verdict {
	case appendOK:
		r.rows = d.number()
	case appendFenced:
		r.epoch, r.owner = d.count(), d.text()
	default:
		if d.err == nil {
			d.err = fmt.Errorf("the script answered %.80q", r.verdict)
		}
	}
	return r, d.end()
}

// gapsReply is the reply of scriptGaps: the checkpoint, "" if there is none, and the JSON of the
// rows, in no order.
type gapsReply struct {
	checkpoint string
	rows       []string
}

func decodeGaps(m valkeygo.ValkeyMessage) (r gapsReply, err error) {
	d := decode("the gaps", m)
	r.checkpoint = d.text()
	for d.more() {
		version, row, ok := strings.Cut(d.text(), " ")
		if _, err := strconv.ParseUint(version, 10, 64); d.err == nil && (!ok || err != nil) {
			d.err = fmt.Errorf("a row of the gaps has no version: %.80q", version)
		}
		r.rows = append(r.rows, row)
	}
	return r, d.end()
}

// probeReply is the reply of scriptProbe.
type probeReply struct {
	verdict      string // "OK" or "DENIED"
	command, key string // that the user may not use
}

func decodeProbe(m valkeygo.ValkeyMessage) (probeReply, error) {
	d := decode("the answer to a probe", m)
	r := probeReply{verdict: d.text(), command: d.text(), key: d.text()}
	return r, d.end()
}

// decodeText decodes a reply that is one text. nil is an error.
func decodeText(what string, m valkeygo.ValkeyMessage) (string, error) {
	if m.IsNil() {
		return "", &misfitError{fmt.Errorf("%s is missing", what)}
	}
	d := decodeOne(what, m)
	text := d.text()
	return text, d.end()
}

// decodeNumber decodes a reply that is one whole number. nil is an error.
func decodeNumber(what string, m valkeygo.ValkeyMessage) (int64, error) {
	if m.IsNil() {
		return 0, &misfitError{fmt.Errorf("%s is missing", what)}
	}
	d := decodeOne(what, m)
	n := d.number()
	return n, d.end()
}

// decodeTexts decodes a reply that is a list or a set of texts.
func decodeTexts(what string, m valkeygo.ValkeyMessage) ([]string, error) {
	d := decode(what, m)
	texts := make([]string, 0, len(d.rest))
	for d.more() {
		texts = append(texts, d.text())
	}
	return texts, d.end()
}

// owner returns the reply as the owner of a stream. left is how long the lease lasts.
func (r ownerReply) owner(stream string, left time.Duration) messages.Owner {
	if left <= 0 || r.node == "" {
		return messages.Owner{Stream: stream, Epoch: r.epoch}
	}
	return messages.Owner{Stream: stream, Epoch: r.epoch, Node: r.node, Name: r.name, Left: left}
}
