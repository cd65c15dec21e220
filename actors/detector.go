package actors

import (
	"cmp"
	"math"
	"time"
)

// Detector is an adaptive failure detector over the inter-arrival times of frames, after the
// phi-accrual detector of Hayashibara et al. Phi is -log10 of the probability that a healthy feed
// is silent for this long. The arrivals of a feed are close to a Poisson process, so the intervals
// have the exponential distribution, whose only parameter is the mean. That distribution does not
// know the lulls of a bursty feed. The detector learns them apart: a silence must also exceed twice
// the longest lull that a healthy connection showed in the last two days.
//
// Intervals are differences of the events' upstream times, because a replay delivers half a day of
// events within seconds, and its pace says nothing about the feed.
//
// By measurement, a feed of 500 events/s is suspect after MinSilence, and a feed of one event an
// hour after the better part of a day. A suspicion doubles the patience if the new connection
// brings nothing new either, so that a feed that is quiet for a night is not reconnected every few
// seconds.
//
// The zero Detector is ready for use. It is not safe for concurrent use, and reads no clock.
type Detector struct {
	// Least is the shortest silence that is ever suspect; MinSilence if 0.
	Least time.Duration

	mean     float64 // seconds between frames, exponentially weighted
	samples  int
	lulls    [lullSlots]time.Duration // longest lull in each of the last hours, a ring by hour
	lullHour int64
	// patience divides the suspicion. It doubles with every suspicion, and is 1 again after a new
	// event.
	patience float64

	since  time.Time // the beginning of the silence
	frames uint64    // read on this connection
	newest int64     // time of the newest event that the host ever sent, Unix µs
	host   string    // the host on whose clock newest is
	others map[string]int64
	// A suspicion was acted on, and nothing new has come since. The lull that ends with the next
	// new event says nothing about health.
	doubt bool
}

const (
	// phiThreshold is the suspicion at which a connection counts as dead: one false alarm in 10^8
	// intervals of a Poisson feed.
	phiThreshold = 8.0
	// MinSilence is the shortest silence of a connection that is ever suspect. A garbage collection
	// or a slow disk upstream is not an outage.
	MinSilence = 5 * time.Second
	// minSamples is how many arrivals of new events the detector needs before it judges. A burst
	// counts as one, however many events it brings.
	minSamples = 20
	// lullFactor is by what factor a silence must exceed the longest healthy lull.
	lullFactor = 2
	lullSlots  = 48
	seedLull   = time.Minute
	// weight is the weight of a new sample: about the last 200 count.
	weight = 0.005
	// maxPatience bounds the doubling: with MinSilence it is some hours.
	maxPatience = 4096
)

// Seed starts a new detector with the mean interval of the stored events. Their lulls are not
// known, so the longest lull counts as seedLull at first, and a silence must last lullFactor times
// as long.
func (d *Detector) Seed(now time.Time, interval time.Duration) {
	d.mean, d.samples = interval.Seconds(), minSamples
	d.noteLull(now, seedLull)
}

// Connected starts to watch a new connection to the host. Times on different hosts' clocks are
// never compared.
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

// Observe takes the number of frames that the connection has read so far, the time of the last one,
// the time of the newest event on the host's clock, and the present on that clock (both Unix µs;
// presentUS is 0 where it is not known). Every frame ends the silence. Only events newer than all
// before teach the detector anything and end a doubt, because a new connection begins with a
// replay.
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
		// This is the first event of a new host, which begins with a replay and teaches nothing.
		d.newest = newestUS
		return
	}
	elapsed := time.Duration(newestUS-d.newest) * time.Microsecond
	if d.newest > 0 && !d.doubt {
		d.learn(elapsed.Seconds()/float64(n), n)
		d.noteLull(now, min(elapsed, arrived)) // the steps of a replay are no lulls
	}
	d.newest, d.doubt, d.patience = newestUS, false, 1
}

// Excuse restarts the silence at now: the silence before now was our own doing (backpressure).
func (d *Detector) Excuse(now time.Time) { d.since = now }

// learn adds n intervals of the same length to the mean.
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

// Silence is how long no frame has come.
func (d *Detector) Silence(now time.Time) time.Duration { return now.Sub(d.since) }

// Phi is the suspicion at now. The connection counts as dead from phiThreshold on. Phi is 0 while
// the detector has seen too little to judge.
func (d *Detector) Phi(now time.Time) float64 {
	if d.samples < minSamples {
		return 0
	}
	silence := d.Silence(now).Seconds()
	longest := time.Duration(0)
	for _, l := range d.lulls {
		longest = max(longest, l)
	}
	// A silence that is short next to the longest healthy lull is not suspect, whatever the mean
	// rate says.
	byRate := silence / max(d.mean, 0.001) * math.Log10E
	byLull := silence / max(cmp.Or(d.Least, MinSilence), lullFactor*longest).Seconds() * phiThreshold
	return min(byRate, byLull) / max(d.patience, 1)
}

// Suspect says whether the connection counts as dead.
func (d *Detector) Suspect(now time.Time) bool { return d.Phi(now) >= phiThreshold }

// Suspected notes that the suspicion was acted on.
func (d *Detector) Suspected() {
	d.patience = min(max(d.patience, 1)*2, maxPatience)
	d.doubt = true
}

// SleepDetector notices that the machine slept: the wall clock went on and the monotonic clock did
// not. After a sleep every socket is suspect, and there is no reason to wait for a silence
// threshold. A clock that is set forward looks the same. The reconnect that follows is harmless.
type SleepDetector struct {
	wall time.Time
	mono time.Duration
}

// sleptFor is the difference that counts as a sleep. Clock slewing stays far below it.
const sleptFor = 10 * time.Second

// Observe takes the wall clock (without its monotonic reading) and the monotonic clock. Call it
// regularly. It returns how long the machine slept since the last call, 0 if it did not.
func (d *SleepDetector) Observe(wall time.Time, mono time.Duration) time.Duration {
	wall = wall.Round(0)
	defer func() { d.wall, d.mono = wall, mono }()
	if d.wall.IsZero() {
		return 0
	}
	if slept := wall.Sub(d.wall) - (mono - d.mono); slept >= sleptFor {
		return slept
	}
	return 0
}
