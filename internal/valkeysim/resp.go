package valkeysim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Replies are int64, string (a bulk string), nil, status, failure, []any, pairs and set.
type (
	status  string // a simple string
	failure string // an error: a word in capitals, and a text
	pairs   []any  // a map: names and values in turn
	set     []any
)

// maxArgument is the largest argument that a request may have, in bytes.
const maxArgument = 64 << 20

var errProtocol = errors.New("valkeysim: it is no request")

// readRequest reads a request: an array of bulk strings.
func readRequest(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" || line[0] != kind {
		return 0, errProtocol
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 || n > maxArgument {
		return 0, errProtocol
	}
	return n, nil
}

// appendReply appends a reply as RESP3 has it.
func appendReply(b []byte, reply any) []byte {
	array := func(kind byte, n int, all []any) []byte {
		b = append(strconv.AppendInt(append(b, kind), int64(n), 10), "\r\n"...)
		for _, one := range all {
			b = appendReply(b, one)
		}
		return b
	}
	switch reply := reply.(type) {
	case nil:
		return append(b, "_\r\n"...)
	case int64:
		return append(strconv.AppendInt(append(b, ':'), reply, 10), "\r\n"...)
	case string:
		b = append(strconv.AppendInt(append(b, '$'), int64(len(reply)), 10), "\r\n"...)
		return append(append(b, reply...), "\r\n"...)
	case status:
		return append(append(append(b, '+'), reply...), "\r\n"...)
	case failure:
		return append(append(append(b, '-'), reply...), "\r\n"...)
	case []any:
		return array('*', len(reply), reply)
	case set:
		return array('~', len(reply), reply)
	case pairs:
		return array('%', len(reply)/2, reply)
	}
	panic(fmt.Sprintf("valkeysim: a reply is a %T", reply))
}
