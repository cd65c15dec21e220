package serve

import (
	"context"
	"net/http"

	"tempestd/persistence"
)

// streamStatus is a stream as HTTP tells of it.
type streamStatus struct {
	persistence.StreamInfo
	Readers int `json:"readers"` // tails being served
}

func (s *Server) statusOf(info persistence.StreamInfo) streamStatus {
	return streamStatus{info, s.observer.Metrics().TailsOf(info.Name)}
}

func (s *Server) streams(w http.ResponseWriter, r *http.Request) error {
	infos, err := s.store.Streams(r.Context())
	if err != nil {
		return err
	}
	streams := []streamStatus{} // [] in JSON, not null
	for _, info := range infos {
		streams = append(streams, s.statusOf(info))
	}
	writeJSON(w, http.StatusOK, map[string]any{"streams": streams})
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
	writeJSON(w, http.StatusOK, s.statusOf(info))
	return nil
}

// frames answers a read of a closed range.
func (s *Server) frames(w http.ResponseWriter, r *http.Request) error {
	p := parseParams(r, "from", "to", "limit")
	from, to, limit := p.cursor("from", "start"), p.cursor("to", "end"), p.limit()
	if p.err != nil {
		return p.err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	read, err := stream.Read(r.Context(), from, to, limit)
	if err != nil {
		return err
	}
	s.writeFrames(w, stream.Name(), read)
	return nil
}

// tail answers what follows an exclusive cursor, and waits for it up to the block budget. While the server stops, or starts to, the
// answer is empty and open.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) error {
	p := parseParams(r, "after", "block_ms", "limit")
	after, block, limit := p.after(), p.block(), p.limit()
	if p.err != nil {
		return p.err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}

	select {
	case s.tails <- struct{}{}:
		defer func() { <-s.tails }()
	default:
		return &apiError{status: http.StatusTooManyRequests, name: nameTooManyTails,
			message: "as many tails as this daemon serves at one time are open", header: retryAfter(1)}
	}
	tails := s.observer.Metrics().Tails.WithLabelValues(stream.Name())
	tails.Inc()
	defer tails.Dec()

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.drained, cancel)()

	s.allow(w, block)
	read, err := stream.Tail(ctx, after, block, limit)
	if err != nil {
		if !s.draining() || r.Context().Err() != nil {
			return err
		}
		w.Header().Set("Connection", "close")
		read = persistence.StreamFrames{}
	}
	s.writeFrames(w, stream.Name(), read)
	return nil
}
