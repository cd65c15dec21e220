package jetsim

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"
)

// codec turns the text of a message into its websocket frame. Each connection has its own codec.
type codec interface {
	appendMessage(b, text []byte) []byte
}

// zstdCodec sends every message as one zstd frame in a binary message.
type zstdCodec struct {
	dict *dictionary
	buf  []byte
}

func (c *zstdCodec) appendMessage(b, text []byte) []byte {
	c.buf = c.dict.enc.EncodeAll(text, c.buf[:0])
	return appendMessage(b, opBinary, c.buf)
}

// deflateParams holds the negotiated parameters of permessage-deflate (RFC 7692).
type deflateParams struct {
	serverNoTakeover bool // the server compresses each message separately
	clientNoTakeover bool // the client compresses each message separately
}

// acceptDeflate accepts the first offer of permessage-deflate whose parameters it supports, and
// returns the answer to it. Windows are always 32 KiB.
func acceptDeflate(offers []string) (p deflateParams, answer string, ok bool) {
	for _, line := range offers {
		for offer := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(offer, ";")
			if strings.TrimSpace(name) != "permessage-deflate" {
				continue
			}
			if p, ok := parseDeflate(params); ok {
				answer = "permessage-deflate"
				if p.clientNoTakeover {
					answer += "; client_no_context_takeover"
				}
				if p.serverNoTakeover {
					answer += "; server_no_context_takeover"
				}
				return p, answer, true
			}
		}
	}
	return deflateParams{}, "", false
}

func parseDeflate(params string) (p deflateParams, ok bool) {
	for param := range strings.SplitSeq(params, ";") {
		param = strings.ReplaceAll(strings.TrimSpace(param), " ", "")
		switch {
		case param == "client_no_context_takeover":
			p.clientNoTakeover = true
		case param == "server_no_context_takeover":
			p.serverNoTakeover = true
		case param == "", param == "client_max_window_bits", strings.HasPrefix(param, "client_max_window_bits="), param == "server_max_window_bits=15":
		default:
			return p, false
		}
	}
	return p, true
}

const (
	deflateThreshold = 128 // bytes; shorter messages are sent uncompressed
	deflateTail      = "\x00\x00\xff\xff"
	deflateWindow    = 32 << 10
)

// deflateCodec sends messages by permessage-deflate.
type deflateCodec struct {
	params deflateParams
	out    bytes.Buffer
	w      *flate.Writer
}

func newDeflateCodec(p deflateParams) *deflateCodec {
	c := &deflateCodec{params: p}
	c.w, _ = flate.NewWriter(&c.out, flate.BestSpeed) // the level is valid, so there is no error
	return c
}

func (c *deflateCodec) appendMessage(b, text []byte) []byte {
	if len(text) < deflateThreshold {
		return appendMessage(b, opText, text)
	}
	c.out.Reset()
	if c.params.serverNoTakeover {
		c.w.Reset(&c.out)
	}
	_, _ = c.w.Write(text) // a write to a bytes.Buffer does not fail
	_ = c.w.Flush()
	payload := bytes.TrimSuffix(c.out.Bytes(), []byte(deflateTail))
	at := len(b)
	b = appendMessage(b, opText, payload)
	b[at] |= compressedBit
	return b
}

// inflater decompresses the messages that a client sends by permessage-deflate.
type inflater struct {
	params deflateParams
	window []byte // the last bytes of the earlier messages, at most deflateWindow
}

// inflate returns the text of a message. It returns errMessageTooBig when the text is longer than
// limit bytes.
func (f *inflater) inflate(payload []byte, limit int) ([]byte, error) {
	const end = "\x01\x00\x00\xff\xff" // an empty last block
	r := flate.NewReaderDict(io.MultiReader(bytes.NewReader(payload), strings.NewReader(deflateTail+end)), f.window)
	var text bytes.Buffer
	n, err := text.ReadFrom(io.LimitReader(r, int64(limit)+1))
	switch {
	case n > int64(limit):
		return nil, errMessageTooBig
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBadClientFrame, err)
	}
	if !f.params.clientNoTakeover {
		f.window = append(f.window, text.Bytes()...)
		f.window = append([]byte(nil), f.window[max(0, len(f.window)-deflateWindow):]...)
	}
	return text.Bytes(), nil
}
