package serve

import (
	"net/http"
	"slices"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/persistence"
)

// tailParams are the parameters of a tail.
var tailParams = slices.Concat([]string{"after", "block_ms", "limit", api.RepairedParam}, api.FilterParams)

// streamStatus is a stream's status in the API.
type streamStatus struct {
	persistence.StreamInfo
	Readers int  `json:"readers"` // tails that are being served
	Feed    bool `json:"feed"`    // a feed of this daemon's configuration fills it
}

func (s *Server) statusOf(info persistence.StreamInfo) streamStatus {
	return streamStatus{info, s.observer.Metrics().TailsOf(info.Name), s.control.HasFeed(info.Name)}
}

func (s *Server) streams(w http.ResponseWriter, r *http.Request) error {
	infos, err := s.store.Streams(r.Context())
	if err != nil {
		return err
	}
	streams := []streamStatus{} // so that JSON has [] and not null
	for _, info := range infos {
		streams = append(streams, s.statusOf(info))
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{"streams": streams})
	return nil
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	info, err := stream.Info(r.Context())
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, s.statusOf(info))
	return nil
}

// tail answers with the entries after an exclusive cursor that pass the filter, and waits for them
// up to the block budget. When the server is stopping, or begins to stop during the wait, it
// answers with the entries there are and does not mark the stream as closed.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) error {
	if wantsEvents(r) {
		return s.events(w, r)
	}
	// The share comes first: it holds a long query, which has to wait for its turn.
	share, err := s.tails.Share(r)
	if err != nil {
		return err
	}
	defer share.Close()
	p := api.ParseParams(r, tailParams...)
	after, block, limit, matcher := p.After(), p.Block(), p.Limit(), p.Matcher()
	if p.Err != nil {
		return p.Err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	if block > 0 {
		release, err := s.tails.Admit(r, stream.Name(), block)
		if err != nil {
			return err
		}
		defer release()
	}
	tail.Allow(w, block)
	f, err := s.tails.Follow(r.Context(), share, stream, after, matcher)
	if err != nil {
		return err
	}
	defer f.Close()
	found, err := f.Next(block, limit)
	if err != nil {
		return err
	}
	if found.Drained {
		w.Header().Set("Connection", "close")
	}
	s.tails.WritePage(w, stream.Name(), "", &found)
	return nil
}
