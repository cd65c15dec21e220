package encode

import (
	"net/http"
	"strconv"
	"strings"
)

// coding is a content coding of this package.
type coding string

const (
	identity coding = ""
	gzipped  coding = "gzip"
	zstded   coding = "zstd"
)

// choose returns the coding that a client prefers, by the weights in Accept-Encoding (RFC 9110,
// 12.5.3). Of two that it likes as much, zstd is taken: it costs less and packs more.
func choose(header http.Header) coding {
	best, most := identity, 0.0
	for _, line := range header.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			name, parameter, _ := strings.Cut(item, ";")
			weight := 1.0
			if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameter)), "q="); ok {
				weight, _ = strconv.ParseFloat(q, 64) // 0 refuses it
			}
			c := coding(strings.ToLower(strings.TrimSpace(name)))
			if (c == gzipped || c == zstded) && (weight > most || weight == most && weight > 0 && c == zstded) {
				best, most = c, weight
			}
		}
	}
	return best
}
