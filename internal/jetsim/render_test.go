package jetsim

import "testing"

func BenchmarkRender(b *testing.B) {
	w := newNetwork(1, 20000)
	var buf []byte
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		buf = w.appendFrame(buf[:0], w.event(n), n+1, 1795327551918167+n)
		n++
		b.SetBytes(int64(len(buf)))
	}
}
