package actors

import "tempestd/messages"

// filled notes in the checkpoint how far a batch takes a feed that begins with history. A batch of
// an archive moves the point. The first one of the socket after an archive, or the first one with an
// event, is the end of it: what follows is resumed like that of any feed.
func filled(b *messages.Batch, at *messages.Checkpoint) {
	switch {
	case at.Fill == nil:
	case b.Point != nil:
		at.Fill = &messages.Fill{SinceUS: at.Fill.SinceUS, Point: b.Point}
	case at.Fill.Point != nil || firstStored(b) != nil:
		at.Fill = nil
	}
}
