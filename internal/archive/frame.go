package archive

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/jss"
	"tempestd/internal/atproto"
)

// Renderer writes rows as the frames of a v2 socket. The zero Renderer is ready to use, and
// allocates nothing per row once its buffers have grown. It is not safe for concurrent use.
type Renderer struct {
	// Witnessed says that the server's socket sends witnessedAt, as servers do since 2026-09.
	Witnessed bool

	enc dagcbor.Encoder
	buf []byte
}

// errNotMap is a record that is no map.
var errNotMap = fmt.Errorf("%w: a record that is no map", dagcbor.ErrOutsideModel)

// AppendFrame appends the frame of a row. An error that is dagcbor.ErrOutsideModel means that the
// socket does not send the event either; any other one means that the row is damaged. After an error
// dst is given back as it was.
func (r *Renderer) AppendFrame(dst []byte, row *jss.Row) ([]byte, error) {
	var out []byte
	var err error
	switch row.Kind {
	case jss.Create, jss.Update, jss.Resync, jss.Delete:
		out, err = r.commit(dst, row)
	case jss.Identity:
		out, err = r.message(dst, row, "identity", identityMembers)
	case jss.Account:
		out, err = r.message(dst, row, "account", accountMembers)
	case jss.Sync:
		out, err = r.message(dst, row, "sync", syncMembers)
	default:
		err = fmt.Errorf("the kind %d: %w", row.Kind, jss.ErrUnknown)
	}
	if err != nil {
		return dst, fmt.Errorf("archived event %d: %w", row.Seq, err)
	}
	return out, nil
}

func (r *Renderer) commit(dst []byte, row *jss.Row) ([]byte, error) {
	dst = append(append(dst, atproto.EventFrame...), `commit"`...)
	if row.Kind != jss.Delete {
		dst = append(dst, `,"cid":"`...)
		dst, _ = dagcbor.Sum(dagcbor.CodecDAGCBOR, row.Payload).AppendText(dst)
		dst = append(dst, '"')
	}
	dst = dagcbor.AppendText(append(dst, `,"collection":`...), row.Collection, false)
	dst = dagcbor.AppendText(append(dst, `,"did":`...), row.DID, false)
	dst = append(append(dst, `,"operation":"`...), operation(row.Kind)...)
	dst = append(dst, '"')
	if row.Kind != jss.Delete {
		at := len(dst)
		dst = append(dst, `,"record":`...)
		var err error
		if dst, err = r.enc.AppendJSON(dst, row.Payload); err != nil {
			return nil, err
		}
		if dst[at+len(`,"record":`)] != '{' || !isMap(row.Payload) {
			return nil, errNotMap
		}
	}
	dst = dagcbor.AppendText(append(dst, `,"rev":`...), row.Rev, false)
	dst = dagcbor.AppendText(append(dst, `,"rkey":`...), row.Key, false)
	dst = strconv.AppendUint(append(dst, `,"seq":`...), row.Seq, 10)
	return r.times(dst, row), nil
}

// isMap tells a map from bytes and links, whose JSON is an object as well.
func isMap(payload []byte) bool { return payload[0]>>5 == 5 }

func operation(k jss.Kind) string {
	switch k {
	case jss.Update:
		return "update"
	case jss.Delete:
		return "delete"
	}
	return "create"
}

// The members that a socket sends of a message, in the order of its JSON; it leaves others out.
var (
	identityMembers = []string{"did", "handle", "seq", "time"}
	accountMembers  = []string{"active", "did", "seq", "status", "time"}
	syncMembers     = []string{"blocks", "did", "rev", "seq", "time"}
)

// message writes what is no commit. Its members are sorted: an account stands before did and seq,
// an identity after did, a sync after seq.
func (r *Renderer) message(dst []byte, row *jss.Row, name string, members []string) ([]byte, error) {
	body, err := r.members(row.Payload, name, members)
	if err != nil {
		return nil, err
	}
	dst = append(append(append(dst, atproto.EventFrame...), name...), '"')
	if name < "did" {
		dst = append(dst, body...)
	}
	dst = dagcbor.AppendText(append(dst, `,"did":`...), row.DID, false)
	if name > "did" && name < "seq" {
		dst = append(dst, body...)
	}
	dst = strconv.AppendUint(append(dst, `,"seq":`...), row.Seq, 10)
	if name > "seq" {
		dst = append(dst, body...)
	}
	return r.times(dst, row), nil
}

// members is `,"name":{…}` with the wanted members of a message.
func (r *Renderer) members(payload []byte, name string, wanted []string) ([]byte, error) {
	p := dagcbor.NewParser(payload)
	var values [5][]byte
	err := p.Members(func(key []byte) error {
		value, err := p.Skip()
		for i, w := range wanted {
			if string(key) == w {
				values[i] = value
			}
		}
		return err
	})
	if err == nil {
		err = p.Done()
	}
	if err != nil {
		return nil, err
	}
	b := append(append(append(r.buf[:0], `,"`...), name...), `":{`...)
	for i, w := range wanted {
		if values[i] == nil {
			continue
		}
		if !bytes.HasSuffix(b, []byte("{")) {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), w...), `":`...)
		if text := dagcbor.NewParser(values[i]); w == "handle" || w == "did" || w == "status" {
			if item, err := text.Next(); err == nil && item.Kind == dagcbor.Text {
				b = dagcbor.AppendText(b, item.Data, false)
				continue
			}
		}
		if b, err = r.enc.AppendJSON(b, values[i]); err != nil {
			return nil, err
		}
	}
	r.buf = append(b, '}')
	return r.buf, nil
}

// micro is RFC 3339 with six decimals, in UTC.
const micro = "2006-01-02T15:04:05.000000Z"

func (r *Renderer) times(dst []byte, row *jss.Row) []byte {
	us := row.IndexedUS
	if us == 0 {
		us = row.WitnessedUS
	}
	dst = time.UnixMicro(us).UTC().AppendFormat(append(dst, `,"time":"`...), micro)
	if r.Witnessed {
		dst = time.UnixMicro(row.WitnessedUS).UTC().AppendFormat(append(dst, `","witnessedAt":"`...), micro)
	}
	return append(dst, `"}}`...)
}
