package jetstream

import "bytes"

// mostRepair is the largest size of the object "repair" with the end of its event.
const mostRepair = 512

// Repaired says whether a stored event was fetched to close a gap: its last member is a "repair".
// Only the last bytes of the event are looked at. It is safe for concurrent use.
func Repaired(event []byte) bool {
	tail, ends := bytes.CutSuffix(event[max(0, len(event)-mostRepair):], []byte("}}"))
	if !ends {
		return false
	}
	// The last object of the event, if it has no other in it. In JSON, the quotes and the colon of
	// the member's name are never inside a text.
	i := bytes.LastIndexByte(tail, '{')
	return i >= 0 && bytes.HasSuffix(event[:len(event)-len("}}")-len(tail)+i], []byte(repairMember)) && !bytes.ContainsAny(tail[i:], `}\`)
}
