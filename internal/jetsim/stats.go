package jetsim

import "maps"

// Stats says what a simulator has done since it was made, and the state of its history.
type Stats struct {
	Seed uint64 `json:"seed"`
	// Contents is the number of events that the server has taken from the network, with those of
	// the history.
	Contents int64 `json:"contents"`
	// Served is the number of events in the server's archive. It is less than Contents while some
	// events wait for their first or next ingestion.
	Served      int   `json:"served"`
	Dropped     int   `json:"dropped"`     // events of Served that are no longer served
	Generation  int   `json:"generation"`  // crashes in the history
	Newest      int64 `json:"newest_us"`   // Unix µs of the newest event, 0 without one
	NewestSeq   int64 `json:"newest_seq"`  // its seq, 0 on a legacy server
	Subscribers int   `json:"subscribers"` // connected now
	Connections int64 `json:"connections"` // accepted so far
	// Wires counts the connections by what was negotiated: "v1", "v1+zstd", "v1+deflate", "v2",
	// "v2+zstd".
	Wires   map[string]int64 `json:"wires"`
	Refused int64            `json:"refused"` // requests refused by the fault refuse
	Frames  int64            `json:"frames"`  // event frames handed to the network
	Bytes   int64            `json:"bytes"`   // their bytes, with websocket headers
	Faults  map[string]int64 `json:"faults"`  // injected, by name
	// Archive counts the answers of the archive by route, such as "getBlock"; "bytes" counts the bytes
	// of segments and blocks.
	Archive map[string]int64 `json:"archive"`
	Down    bool             `json:"down"`
	Error   string           `json:"error,omitempty"` // why production ended early
}

// Stats returns a snapshot.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Seed = s.seed
	st.Contents = s.next
	st.Served = s.log.served()
	st.Generation = len(s.log.generations) - 1
	st.Subscribers = len(s.subs)
	st.Down = s.down
	st.Dropped = s.archive().floor(s.clock.Now().UnixMicro())
	st.Faults = maps.Clone(s.stats.Faults)
	st.Archive = maps.Clone(s.stats.Archive)
	st.Wires = maps.Clone(s.stats.Wires)
	if st.Served > 0 {
		newest := s.log.ranked(st.Served - 1)
		st.Newest, st.NewestSeq = newest.timeUS, s.seqOnWire(newest)
	}
	if s.err != nil {
		st.Error = s.err.Error()
	}
	return st
}
