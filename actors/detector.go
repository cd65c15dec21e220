package actors

import (
	"cmp"
	"math"
	"time"
)

// Detector is an adaptive failure detector over the inter-arrival times of frames, after the phi-accrual detector of Hayashibara et al.:
// phi is -log10 of the probability that a healthy feed is silent for this long. Arrivals of a feed are close to a Poisson process, so the
// distribution is the exponential one, whose only parameter is the mean; what it does not know, the lulls of a bursty feed, is learned apart: the
// longest lull a healthy connection showed lately must be exceeded too.
//
// Intervals are taken from the events' upstream times: a replay delivers half a day within seconds, and its pace says nothing about the feed.
//
// Measured at 500 events/s it suspects after MinSilence; one event an hour must be missing for the better part of a day. A suspicion that a new connection
// did not dispel doubles the patience, so that a feed that went quiet for the night is not reconnected every few seconds.
//
// The zero Detector is ready. It is not safe for concurrent use and reads no clock.
type Detector struct {
	// Least is the shortest silence that is ever suspect; MinSilence if 0.
	Least time.Duration

	mean     float64 // seconds between frames, exponentially weighted
	samples  int
	lulls    [lullSlots]time.Duration // longest lull in each of the last hours, a ring by hour
	lullHour int64
	patience float64 // doubles with every suspicion that brought nothing

	since  time.Time // what the silence is counted from
	frames uint64    // read on this connection
	newest int64     // time of the newest event that the host ever sent, Unix µs
	host   string    // the host, whose clock it is
	others map[string]int64
	doubt  bool // a suspicion was acted on and nothing new has come since: the lull that ends says nothing about health
}

const (
	// phiThreshold is the suspicion that counts as dead: one false alarm in 10^8 intervals of a Poisson feed.
	phiThreshold = 8.0
	// MinSilence is the shortest silence of a connection that is ever suspect: a garbage collection or a slow disk upstream is not an outage.
	MinSilence = 5 * time.Second
	// minSamples is how many times it wants to have heard of new events before it has an opinion. A burst is one time, however many there are.
	minSamples = 20
	// lullFactor is by how much a silence must exceed the longest healthy lull.
	lullFactor = 2
	lullSlots  = 48
	seedLull   = time.Minute
	// weight of a new sample; about the last 200 count.
	weight = 0.005
	// maxPatience bounds the doubling: some hours at MinSilence.
	maxPatience = 4096
)

// Seed gives a new detector what an earlier one left behind: the mean interval of the events that are stored. Their lulls are not known, so that at first
// a silence of seedLull twice over is what it takes.
func (d *Detector) Seed(now time.Time, interval time.Duration) {
	d.mean, d.samples = interval.Seconds(), minSamples
	d.noteLull(now, seedLull)
}

// Connected starts watching a new connection to the host. Times of another host's clock are not compared with what was seen before.
func (d *Detector) Connected(now time.Time, host string) {
	if host != d.host {
		if d.others == nil {
			d.others = make(map[string]int64)
		}
		d.others[d.host] = d.newest
		d.host, d.newest = host, d.others[host]
	}
	d.since, d.frames = now, 0
	d.patience = max(d.patience, 1)
}

// Observe is told how many frames the connection has read so far, when the last one came, the time of the newest event on the host's clock, and what that
// clock shows, as far as it is known (Unix µs, 0 for unknown).
// Every frame ends the silence; only events newer than all before teach anything and dispel a suspicion, for a new connection begins with a replay.
func (d *Detector) Observe(now time.Time, frames uint64, last time.Time, newestUS, presentUS int64) {
	if frames == d.frames {
		return
	}
	n := frames - d.frames
	arrived := last.Sub(d.since)
	d.frames, d.since = frames, last
	if newestUS <= d.newest || presentUS > 0 && newestUS > presentUS+futureTolerance.Microseconds() {
		return
	}
	if d.newest == 0 && len(d.others) > 0 {
		d.newest = newestUS // of a host that was never heard before: its replay tells nothing
		return
	}
	elapsed := time.Duration(newestUS-d.newest) * time.Microsecond
	if d.newest > 0 && !d.doubt {
		d.learn(elapsed.Seconds()/float64(n), n)
		d.noteLull(now, min(elapsed, arrived)) // a replay's steps are no lulls
	}
	d.newest, d.doubt, d.patience = newestUS, false, 1
}

// Excuse restarts the count: what was silent until now was our own doing (backpressure).
func (d *Detector) Excuse(now time.Time) { d.since = now }

// learn takes n intervals of the same length into the mean.
func (d *Detector) learn(interval float64, n uint64) {
	if d.samples == 0 {
		d.mean = interval
	}
	d.samples = min(d.samples+1, minSamples)
	keep := math.Pow(1-weight, float64(n))
	d.mean = keep*d.mean + (1-keep)*interval
}

func (d *Detector) noteLull(now time.Time, lull time.Duration) {
	hour := now.Unix() / 3600
	if hour != d.lullHour {
		for h := max(d.lullHour+1, hour-lullSlots+1); h <= hour; h++ {
			d.lulls[h%lullSlots] = 0
		}
		d.lullHour = hour
	}
	slot := &d.lulls[hour%lullSlots]
	*slot = max(*slot, lull)
}

// Silence is how long nothing has come.
func (d *Detector) Silence(now time.Time) time.Duration { return now.Sub(d.since) }

// Phi is the suspicion at now: from phiThreshold on the connection counts as dead. It is 0 while it has seen too little to have an opinion.
func (d *Detector) Phi(now time.Time) float64 {
	if d.samples < minSamples {
		return 0
	}
	silence := d.Silence(now).Seconds()
	longest := time.Duration(0)
	for _, l := range d.lulls {
		longest = max(longest, l)
	}
	// Whatever the rate says, a silence is no more suspect than it is long next to what a healthy connection has shown.
	byRate := silence / max(d.mean, 0.001) * math.Log10E
	byLull := silence / max(cmp.Or(d.Least, MinSilence), lullFactor*longest).Seconds() * phiThreshold
	return min(byRate, byLull) / max(d.patience, 1)
}

// Suspect says whether the connection counts as dead.
func (d *Detector) Suspect(now time.Time) bool { return d.Phi(now) >= phiThreshold }

// Suspected is told that the suspicion was acted on.
func (d *Detector) Suspected() {
	d.patience = min(max(d.patience, 1)*2, maxPatience)
	d.doubt = true
}
