package jetstream

import (
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/coder/websocket"
)

// Cause says how a connection ended, or why there was none.
type Cause string

// Causes.
const (
	CauseServerClose Cause = "server_close" // a close frame
	CauseEOF         Cause = "eof"          // EOF between two messages, without a close frame
	// CauseMidFrame: the stream ended within a message. The server gave up on a slow reader, or it
	// died.
	CauseMidFrame Cause = "mid_frame_eof"
	CauseReset    Cause = "reset"           // a TCP reset
	CauseTooBig   Cause = "message_too_big" // larger than the most that is read and discarded
	CauseClosed   Cause = "closed"          // Close, CloseNow, or a sink that gave no batch
	CauseRefused  Cause = "refused"         // the handshake was not accepted
	CauseTimeout  Cause = "timeout"         // of the dial, its handshake, or a write
	CauseProtocol Cause = "protocol"        // not the websocket protocol, or not our use of it
	CauseNetwork  Cause = "network"         // anything else
	CauseUpstream Cause = "upstream_error"  // the upstream said why, in a frame
	// CauseCompression: a message could not be decompressed. The next connection to the endpoint is
	// not compressed.
	CauseCompression Cause = "compression"
	// CauseSwept: an archive was read to its end.
	CauseSwept Cause = "swept"
	// CauseReplaced: an archive is another instance's, so the sequence numbers are of no use.
	CauseReplaced Cause = "replaced"
	CauseArchive  Cause = "archive" // an archive could not be read further
)

// Ending describes the end of a connection.
type Ending struct {
	Cause  Cause
	Code   int    // of the server's close frame, or the HTTP status of a refusal; 0 otherwise
	Name   string // the upstream's own name for it, such as "CursorTooOld"; "" if it has none
	Reason string // one line, bounded, printable
	Clean  bool   // the server ended it in good order (1001, 1000): its sequence numbers stay valid
}

// NewEndError makes the error of a reader that is no Conn. cause may be nil.
func NewEndError(e Ending, cause error) *EndError {
	e.Reason = printable(e.Reason)
	return &EndError{Ending: e, cause: cause}
}

// EndError is the error that Run returns.
type EndError struct {
	Ending Ending
	cause  error
}

func (e *EndError) Error() string { return "connection ended: " + e.Ending.Reason }

// Unwrap returns the error of the network or of the websocket library.
func (e *EndError) Unwrap() error { return e.cause }

// Is matches ErrClosed if we ended the connection.
func (e *EndError) Is(target error) bool {
	return target == ErrClosed && e.Ending.Cause == CauseClosed
}

// Classify says how the connection ended, or why there was none. It accepts the errors of Run and
// of Dial. It is safe for concurrent use.
func Classify(err error) Ending {
	if end, ok := errors.AsType[*EndError](err); ok {
		return end.Ending
	}
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return Ending{Cause: CauseRefused, Code: r.Status, Name: r.Name, Reason: r.Error()}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Ending{Cause: CauseTimeout, Reason: "no connection in time"}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return Ending{Cause: CauseClosed, Reason: "closed by us"}
	}
	return network(err)
}

// ending classifies the error that ended a read loop.
func (c *Conn) ending(err error, inFrame bool) Ending {
	closed, byServer := errors.AsType[websocket.CloseError](err)
	switch {
	case errors.Is(err, ErrStopped):
		return Ending{Cause: CauseClosed, Reason: "stopped by the sink"}
	case c.isClosing():
		return Ending{Cause: CauseClosed, Reason: "closed by us"}
	case byServer:
		return serverClose(closed)
	}
	if said, ok := errors.AsType[*upstreamError](err); ok {
		return Ending{Cause: CauseUpstream, Name: said.name, Reason: said.Error()}
	}
	if isUnpackable(err) {
		return Ending{Cause: CauseCompression, Reason: printable(err.Error())}
	}
	switch {
	case isTooLong(err):
		return Ending{Cause: CauseTooBig, Reason: fmt.Sprintf("a message is larger than %d bytes, the most that is passed over", skipLimit(c.maxSize))}
	case errors.Is(err, context.DeadlineExceeded):
		return Ending{Cause: CauseTimeout, Reason: "the server did not take the answer to a ping in time"}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return network(err)
	}
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return Ending{Cause: CauseProtocol, Reason: printable(err.Error())}
	case inFrame:
		return Ending{Cause: CauseMidFrame, Reason: "the stream ended within a message"}
	}
	return Ending{Cause: CauseEOF, Reason: "the stream ended without a close frame"}
}

// isUnpackable says whether a read loop ended because a message cannot be decompressed.
func isUnpackable(err error) bool {
	_, zstd := errors.AsType[*unpackError](err)
	_, deflate := errors.AsType[flate.CorruptInputError](err)
	return zstd || deflate
}

// isTooLong says whether a read loop ended because a message is too large even to be discarded.
func isTooLong(err error) bool {
	_, ok := errors.AsType[*tooLongError](err)
	return ok
}

// serverClose describes the end by a close frame; code 1005 means a frame without a code.
func serverClose(closed websocket.CloseError) Ending {
	end := Ending{Cause: CauseServerClose, Code: int(closed.Code)}
	end.Clean = closed.Code == websocket.StatusGoingAway || closed.Code == websocket.StatusNormalClosure
	end.Reason = fmt.Sprintf("closed by the server with code %d", end.Code)
	if said := printable(closed.Reason); said != "" {
		end.Reason += ": " + said
	}
	return end
}

// network describes the end by a network error.
func network(err error) Ending {
	if errors.Is(err, syscall.ECONNRESET) {
		return Ending{Cause: CauseReset, Reason: "connection reset by the server"}
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return Ending{Cause: CauseTimeout, Reason: printable(err.Error())}
	}
	return Ending{Cause: CauseNetwork, Reason: printable(err.Error())}
}
