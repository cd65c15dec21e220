package jetsim

import (
	"iter"
	"slices"
	"sort"
)

// record is one ingestion: content num got this seq and this time. After a crash a content may be
// ingested again.
type record struct {
	num    int64
	seq    int64
	timeUS int64 // Unix µs
}

// chunkLen is the number of records per allocation. With chunks the log grows without copying.
const chunkLen = 8192

// span is a run of the log that the server still serves.
type span struct {
	start, end int // log indexes; the end of the last span is the end of the log
	rank       int // the number of served records before it
}

// ingestLog holds every ingestion that the server ever made, in order. Nothing is removed. A crash
// makes a part invisible, and the contents of that part are appended again. Records that retention
// drops stay, below the lowest rank that is served. So seq and time rise along the log within a
// generation. Time rises along the whole log, unless the server's clock was stepped back. A
// subscriber may see events only in the order of the log (see [Report]).
//
// There are three numberings. An index counts ingestions. A rank counts the ingestions that are
// still served. A content number belongs to the network.
//
// The owner serialises writes. A snapshot stays valid while the owner appends.
type ingestLog struct {
	chunks      []*[chunkLen]record
	n           int   // records
	generations []int // the index at which each generation begins; the first is 0
	spans       []span
	contents    int64 // the greatest content number ingested so far, plus one
	kept        int   // the lowest rank that retention has not dropped
	first       int   // index of the first record sent to any subscriber; -1 before that
	firstUS     int64 // when it was sent, by a clock without the server's skew: Unix µs
	stepped     bool  // times step back somewhere, because the server's clock did
}

func newIngestLog() ingestLog {
	return ingestLog{generations: []int{0}, spans: []span{{}}, first: -1}
}

// snapshot returns a copy that later appends and crashes do not change.
func (l *ingestLog) snapshot() ingestLog {
	s := *l
	s.generations = slices.Clone(l.generations)
	s.spans = slices.Clone(l.spans)
	return s
}

func (l *ingestLog) at(index int) *record { return &l.chunks[index/chunkLen][index%chunkLen] }

func (l *ingestLog) append(r record) {
	if l.n%chunkLen == 0 {
		l.chunks = append(l.chunks, new([chunkLen]record))
	}
	*l.at(l.n) = r
	l.stepped = l.stepped || l.n > 0 && r.timeUS < l.at(l.n-1).timeUS
	l.n++
	l.spans[len(l.spans)-1].end = l.n
	l.contents = max(l.contents, r.num+1)
}

// served is the number of records that the server would serve: the highest rank plus one.
func (l *ingestLog) served() int {
	s := &l.spans[len(l.spans)-1]
	return s.rank + s.end - s.start
}

// index returns the log index of a rank below served().
func (l *ingestLog) index(rank int) int {
	i := len(l.spans) - 1
	for l.spans[i].rank > rank {
		i--
	}
	return l.spans[i].start + rank - l.spans[i].rank
}

func (l *ingestLog) ranked(rank int) *record { return l.at(l.index(rank)) }

// search returns the first rank whose record satisfies reached, or served(). If reached is true for
// a record, it must be true for all later ones.
func (l *ingestLog) search(reached func(*record) bool) int {
	return sort.Search(l.served(), func(rank int) bool { return reached(l.ranked(rank)) })
}

// firstAt returns the first rank whose record is not older than timeUS, or served().
func (l *ingestLog) firstAt(timeUS int64) int {
	if !l.stepped {
		return l.search(func(r *record) bool { return r.timeUS >= timeUS })
	}
	for rank := range l.served() {
		if l.ranked(rank).timeUS >= timeUS {
			return rank
		}
	}
	return l.served()
}

// between yields, in order, the indexes of the ingestions whose time is in [fromUS, toUS].
func (l *ingestLog) between(fromUS, toUS int64) iter.Seq[int] {
	return func(yield func(int) bool) {
		from := 0
		if !l.stepped {
			from = sort.Search(l.n, func(i int) bool { return l.at(i).timeUS >= fromUS })
		}
		for i := from; i < l.n; i++ {
			switch t := l.at(i).timeUS; {
			case t > toUS && !l.stepped:
				return
			case t >= fromUS && t <= toUS && !yield(i):
				return
			}
		}
	}
}

// missing returns, in order, the contents below l.contents that are not served: a crash forgot
// them, or they were never ingested.
func (l *ingestLog) missing() (nums []int64) {
	have := make(bitset, l.contents/64+1)
	for rank := range l.served() {
		have.set(l.ranked(rank).num)
	}
	for num := range l.contents {
		if !have.has(num) {
			nums = append(nums, num)
		}
	}
	return nums
}

// crash makes every record from the rank durable on invisible and begins a generation. It returns
// the numbers of the forgotten contents, in the order of their ingestion.
func (l *ingestLog) crash(durable int) []int64 {
	var forgotten []int64
	for rank := durable; rank < l.served(); rank++ {
		forgotten = append(forgotten, l.ranked(rank).num)
	}
	for len(l.spans) > 0 && l.spans[len(l.spans)-1].rank >= durable {
		l.spans = l.spans[:len(l.spans)-1]
	}
	if i := len(l.spans) - 1; i >= 0 {
		l.spans[i].end = l.spans[i].start + durable - l.spans[i].rank
	}
	l.generations = append(l.generations, l.n)
	l.spans = append(l.spans, span{start: l.n, end: l.n, rank: durable})
	return forgotten
}
