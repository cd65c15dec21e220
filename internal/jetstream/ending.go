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

// Cause is how a connection ended, or why there was none.
type Cause string

// The causes.
const (
	CauseServerClose Cause = "server_close"    // a close frame
	CauseEOF         Cause = "eof"             // the stream ended between two messages, without a close frame
	CauseMidFrame    Cause = "mid_frame_eof"   // the stream ended within a message: the server gave up on a slow reader, or died
	CauseReset       Cause = "reset"           // a TCP reset
	CauseTooBig      Cause = "message_too_big" // so much so that it was not even passed over
	CauseClosed      Cause = "closed"          // Close, CloseNow, or a sink that gave no batch
	CauseRefused     Cause = "refused"         // the handshake was not accepted
	CauseTimeout     Cause = "timeout"         // of the dial, its handshake, or a write
	CauseProtocol    Cause = "protocol"        // not the websocket protocol, or not as we speak it
	CauseNetwork     Cause = "network"         // anything else
	CauseUpstream    Cause = "upstream_error"  // the upstream said why, in a frame
	CauseCompression Cause = "compression"     // a message could not be unpacked: the next connection to the endpoint is not compressed
)

// Ending is what is to be said about a connection that ended.
type Ending struct {
	Cause  Cause
	Code   int    // of the server's close frame, or the HTTP status of a refusal; 0 otherwise
	Name   string // what the upstream calls it, such as "ConsumerTooSlow" or "CursorTooOld"; "" where it has no name
	Reason string // one line, bounded, printable
	Clean  bool   // the server ended it in good order (1001 or 1000): its sequence numbers stand
}

// EndError is what Run returns.
type EndError struct {
	Ending Ending
	cause  error
}

func (e *EndError) Error() string { return "connection ended: " + e.Ending.Reason }

// Unwrap is what the network, or the websocket library, said.
func (e *EndError) Unwrap() error { return e.cause }

// Is matches ErrClosed when it was our own doing.
func (e *EndError) Is(target error) bool {
	return target == ErrClosed && e.Ending.Cause == CauseClosed
}

// Classify says how the connection ended, or why there was none. It takes the errors of Run and of Dial.
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

// ending classifies what a read loop ended with.
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

// isUnpackable says whether a read loop ended with a message that cannot be unpacked.
func isUnpackable(err error) bool {
	_, zstd := errors.AsType[*unpackError](err)
	_, deflate := errors.AsType[flate.CorruptInputError](err)
	return zstd || deflate
}

// isTooLong says whether a read loop ended with a message that is too large to be passed over.
func isTooLong(err error) bool {
	_, ok := errors.AsType[*tooLongError](err)
	return ok
}

// serverClose tells of a close frame; 1005 is one without a code.
func serverClose(closed websocket.CloseError) Ending {
	end := Ending{Cause: CauseServerClose, Code: int(closed.Code)}
	end.Clean = closed.Code == websocket.StatusGoingAway || closed.Code == websocket.StatusNormalClosure
	end.Reason = fmt.Sprintf("closed by the server with code %d", end.Code)
	if said := printable(closed.Reason); said != "" {
		end.Reason += ": " + said
	}
	return end
}

// network tells of an error of the network.
func network(err error) Ending {
	if errors.Is(err, syscall.ECONNRESET) {
		return Ending{Cause: CauseReset, Reason: "connection reset by the server"}
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return Ending{Cause: CauseTimeout, Reason: printable(err.Error())}
	}
	return Ending{Cause: CauseNetwork, Reason: printable(err.Error())}
}
