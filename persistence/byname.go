package persistence

import (
	"context"
	"errors"
	"time"
)

// TailByName is the TailStream of a Store: it checks all arguments, then tails the stream.
func TailByName(ctx context.Context, store Store, stream, after string, block time.Duration, limit int) (StreamFrames, error) {
	cursor, err := parseCursor("after", after, tailGrammar)
	if err == nil {
		_, err = cursor.Exclusive()
	}
	if err := errors.Join(CheckName(stream), err, CheckBlock(block), CheckLimit(limit)); err != nil {
		return StreamFrames{}, err
	}
	s, err := store.Stream(ctx, stream)
	if err != nil {
		return StreamFrames{}, err
	}
	return s.Tail(ctx, cursor, block, limit)
}

// ReadByName is the ReadStream of a Store: it checks all arguments, then reads the stream.
func ReadByName(ctx context.Context, store Store, stream, from, to string, limit int) (StreamFrames, error) {
	lower, errFrom := parseCursor("from", from, cursorGrammar)
	upper, errTo := parseCursor("to", to, cursorGrammar)
	if err := errors.Join(CheckName(stream), errFrom, errTo, CheckLimit(limit)); err != nil {
		return StreamFrames{}, err
	}
	s, err := store.Stream(ctx, stream)
	if err != nil {
		return StreamFrames{}, err
	}
	return s.Read(ctx, lower, upper, limit)
}
