package jetsim

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// The server's side of RFC 6455, by hand: most faults need a connection that a websocket library would not let us misuse, and
// many frames go out in one write.

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
	finalBit = 0x80
)

// Close codes.
const (
	closeNormal    = 1000
	closeGoingAway = 1001
	closeProtocol  = 1002
	closeNoStatus  = 1005
)

const maxClientFrame = 10_000_000 // bytes; what a server accepts of a subscriber's message

// handshake answers a websocket upgrade request. It returns false after having refused one.
func handshake(w http.ResponseWriter, r *http.Request) (accept string, ok bool) {
	refuse := func(code int, text string) (string, bool) {
		http.Error(w, text, code)
		return "", false
	}
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return refuse(http.StatusUpgradeRequired, "WebSocket protocol violation: Connection and Upgrade headers must ask for websocket")
	}
	if r.Method != http.MethodGet {
		return refuse(http.StatusMethodNotAllowed, "WebSocket protocol violation: handshake request method is not GET")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		return refuse(http.StatusBadRequest, "unsupported WebSocket protocol version (only 13 is supported)")
	}
	key := r.Header.Get("Sec-WebSocket-Key")
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 {
		return refuse(http.StatusBadRequest, "WebSocket protocol violation: invalid Sec-WebSocket-Key")
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:]), true
}

func hasToken(h http.Header, key, token string) bool {
	return slices.ContainsFunc(h.Values(key), func(line string) bool {
		return slices.ContainsFunc(strings.Split(line, ","), func(t string) bool {
			return strings.EqualFold(strings.TrimSpace(t), token)
		})
	})
}

func upgradeResponse(accept string) []byte {
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n")
}

// appendHeader appends the header of an unmasked, unfragmented frame.
func appendHeader(b []byte, op byte, n int) []byte {
	b = append(b, finalBit|op)
	switch {
	case n < 126:
		return append(b, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
}

func appendMessage(b []byte, op byte, payload []byte) []byte {
	return append(appendHeader(b, op, len(payload)), payload...)
}

func appendClose(b []byte, code int, reason string) []byte {
	if code == closeNoStatus {
		return appendHeader(b, opClose, 0)
	}
	b = appendHeader(b, opClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(b, uint16(code)), reason...)
}

var errBadClientFrame = errors.New("client sent an invalid frame")

// readFrame reads one frame from a client. Only a control frame's payload is kept: it is put into buf, which holds 125 bytes.
func readFrame(r *bufio.Reader, buf []byte) (op byte, payload []byte, err error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return 0, nil, err
	}
	op = h[0] & 0xf
	n := uint64(h[1] & 0x7f)
	if h[0]&0x70 != 0 || h[1]&0x80 == 0 || op >= opClose && n > 125 {
		return 0, nil, errBadClientFrame
	}
	switch n {
	case 126:
		if _, err := io.ReadFull(r, h[:2]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(h[:]))
	case 127:
		if _, err := io.ReadFull(r, h[:8]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(h[:])
	}
	if n > maxClientFrame {
		return 0, nil, errBadClientFrame
	}
	var mask [4]byte
	if _, err := io.ReadFull(r, mask[:]); err != nil {
		return 0, nil, err
	}
	if op < opClose {
		_, err := r.Discard(int(n))
		return op, nil, err
	}
	payload = buf[:n]
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return op, payload, nil
}
