package persistence

import (
	"context"
	"errors"
	"fmt"
)

// Walk calls do with every entry of the stream from an ID on, in order, until it has reached the
// stream's end. Entries that cannot be read are left out.
func Walk(ctx context.Context, s Stream, from EntryID, do func(Entry)) error {
	for {
		page, err := s.Read(ctx, CursorAt(from), End(), MaxCount)
		if corrupt, ok := errors.AsType[*CorruptError](err); ok {
			from = corrupt.Block.Next()
			continue
		}
		if err != nil {
			return fmt.Errorf("read stream %s: %w", s.Name(), err)
		}
		if len(page.Entries) == 0 {
			return nil
		}
		for _, e := range page.Entries {
			do(e)
		}
		from = page.Entries[len(page.Entries)-1].ID.Next()
	}
}
