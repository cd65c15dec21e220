package jetsim

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"

	"tempestd/internal/subscribe"
)

// This file is the server's side of RFC 6455. Most faults need a connection that a websocket
// library would not let us misuse, and many frames are sent in one write.

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
	finalBit       = 0x80
	compressedBit  = 0x40 // the message is compressed by permessage-deflate
)

// Close codes.
const (
	closeGoingAway = 1001
	closeProtocol  = 1002
	closeNotText   = 1007 // a message's payload does not match its type
	closePolicy    = 1008
	closeTooBig    = 1009
)

// handshake checks a websocket upgrade request. When it refuses the request, it has answered it and
// returns false.
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

// upgradeResponse is the answer that accepts the upgrade and, unless they are empty, a subprotocol
// and an extension. It has a Date header unless date is empty.
func upgradeResponse(accept, date, subprotocol, extension string) []byte {
	b := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + "\r\n")
	if date != "" {
		b = append(b, "Date: "+date+"\r\n"...)
	}
	if subprotocol != "" {
		b = append(b, "Sec-WebSocket-Protocol: "+subprotocol+"\r\n"...)
	}
	if extension != "" {
		b = append(b, "Sec-WebSocket-Extensions: "+extension+"\r\n"...)
	}
	return append(b, "\r\n"...)
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

// appendClose appends a close frame. A reason too long for a control frame is cut.
func appendClose(b []byte, code int, reason string) []byte {
	reason = subscribe.CloseReason(reason)
	b = appendHeader(b, opClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(b, uint16(code)), reason...)
}
