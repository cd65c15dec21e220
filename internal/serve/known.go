package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tempestd/internal/serve/api"
	"tempestd/messages"
	"tempestd/persistence"
)

// mostNames is how many names an error lists.
const mostNames = 20

// nameKnown adds to an error about a name that does not exist the names that do.
func (s *Server) nameKnown(r *http.Request, err error) error {
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	switch {
	case errors.Is(err, messages.ErrNoFeed):
		feeds, asked := s.control.Feeds(ctx)
		return known(err, asked, "feeds", feeds, func(f messages.FeedStatus) string { return f.Feed })
	case errors.Is(err, persistence.ErrNoStream):
		streams, asked := s.store.Streams(ctx)
		return known(err, asked, "streams", streams, func(i persistence.StreamInfo) string { return i.Name })
	case errors.Is(err, persistence.ErrNoConsumer):
		consumers, asked := s.store.Consumers(ctx, r.PathValue("stream"))
		return known(err, asked, "consumers of the stream", consumers, func(c persistence.ConsumerState) string { return c.Name })
	}
	return err
}

// known adds the names of things to err, unless asking for them failed.
func known[T any](err, asked error, what string, things []T, nameOf func(T) string) error {
	var names []string
	for _, thing := range things[:min(len(things), mostNames)] {
		names = append(names, nameOf(thing))
	}
	switch more := len(things) - len(names); {
	case asked != nil:
		return err
	case len(names) == 0:
		return fmt.Errorf("%w; there are no %s", err, what)
	case more > 0:
		return fmt.Errorf("%w; the %s are: %s and %d more", err, what, strings.Join(names, ", "), more)
	}
	return fmt.Errorf("%w; the %s are: %s", err, what, strings.Join(names, ", "))
}

// nothingAt is the answer where no route is.
func (s *Server) nothingAt(path string) error {
	var plain []string
	for _, route := range s.Routes() {
		if !strings.Contains(route.Pattern, "{") {
			plain = append(plain, route.Pattern)
		}
	}
	return api.NotFound(path, "there are / (the status page), "+strings.Join(plain, ", ")+" and what is below them")
}
