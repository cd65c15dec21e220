// Command legacy is the real legacy Jetstream server, with made-up events instead of a relay. The
// black-box tests connect tempestd to it, so that they do not depend only on our own simulator. It
// is a separate module to keep its dependencies out of the main module.
//
// It prints its address and then produces events until SIGTERM or until there are -count of them.
// Then it prints their number. Before any subscriber can see an event, it appends the event to the
// truth file as one JSON line, with the bytes that the server stores and sends.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/jetstream/pkg/consumer"
	"github.com/bluesky-social/jetstream/pkg/models"
	"github.com/bluesky-social/jetstream/pkg/monotonic"
	"github.com/bluesky-social/jetstream/pkg/server"
	"github.com/cockroachdb/pebble"
	"github.com/goccy/go-json"
	"github.com/klauspost/compress/zstd"
	"github.com/labstack/echo/v4"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen at")
	dir := flag.String("dir", "", "directory of the server's database; one that exists is continued")
	truth := flag.String("truth", "", "file that every event is appended to")
	rate := flag.Int("rate", 1000, "events a second, 1 to 100000")
	accounts := flag.Int("accounts", 10_000, "accounts the events are of, 17576 at most: see did")
	count := flag.Int64("count", 1<<62, "events after which no more are produced; the server stays")
	dictionary := flag.Bool("dictionary", false, "write the zstd dictionary to standard output and exit")
	flag.Parse()
	log.SetFlags(0)
	if *dictionary {
		os.Stdout.Write(models.ZSTDDictionary)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, *dir, *truth, *rate, *accounts, *count); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen, dir, truth string, rate, accounts int, count int64) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	s, err := server.NewServer(100_000)
	if err != nil {
		return err
	}
	c, err := consumer.NewConsumer(ctx, slog.Default(), "ws://127.0.0.1:1", dir, 24*time.Hour, s.Emit)
	if err != nil {
		return err
	}
	s.Consumer = c

	p, err := newProducer(s, c, truth, accounts)
	if err != nil {
		return err
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.GET("/subscribe", s.HandleSubscribe)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	h := &http.Server{Handler: e}
	go h.Serve(l)
	defer h.Close()
	fmt.Println(l.Addr())
	if err := p.run(ctx, rate, count); err != nil {
		return err
	}
	// Sync the databases but do not close them: replays of subscribers may still read them, and the
	// server does not wait for those.
	return errors.Join(c.UncompressedDB.LogData(nil, pebble.Sync), c.CompressedDB.LogData(nil, pebble.Sync))
}

// producer does the work of the server's sequencer: time, JSON, compression, persist, emit. It
// writes the truth file first.
type producer struct {
	server   *server.Server
	consumer *consumer.Consumer
	clock    *monotonic.Clock
	encoder  *zstd.Encoder
	truth    *os.File
	out      *bufio.Writer
	rand     *rand.Rand
	accounts int
	made     int64
}

func newProducer(s *server.Server, c *consumer.Consumer, truth string, accounts int) (*producer, error) {
	clock, err := monotonic.NewClock(time.Microsecond)
	if err != nil {
		return nil, err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderDict(models.ZSTDDictionary), zstd.WithWindowSize(1<<17), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(truth, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &producer{server: s, consumer: c, clock: clock, encoder: encoder, truth: f, out: bufio.NewWriter(f),
		rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), accounts: accounts}, nil
}

func (p *producer) run(ctx context.Context, rate int, count int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for said := false; ; {
		if p.made == count && !said {
			fmt.Println(p.made)
			said = true
		}
		select {
		case <-ctx.Done():
			return p.truth.Close()
		case now := <-tick.C:
			if err := p.produce(min(int64(now.Sub(start).Seconds()*float64(rate)), count)); err != nil {
				return err
			}
		}
	}
}

// produce makes events until there are n.
func (p *producer) produce(n int64) error {
	var batch []*models.Event
	var lines [][]byte
	for ; p.made < n; p.made++ {
		e := p.event()
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		batch, lines = append(batch, e), append(lines, line)
		p.out.Write(line)
		p.out.WriteByte('\n')
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	for i, e := range batch {
		compressed := p.encoder.EncodeAll(lines[i], nil)
		if err := p.consumer.PersistEvent(context.Background(), e, lines[i], compressed); err != nil {
			return err
		}
		if err := p.server.Emit(context.Background(), e, lines[i], compressed); err != nil {
			return err
		}
	}
	return nil
}

func (p *producer) event() *models.Event {
	did := did(p.rand.IntN(p.accounts))
	e := &models.Event{Did: did, TimeUS: p.clock.Now()}
	if p.rand.IntN(50) == 0 {
		e.Kind = models.EventKindIdentity
		e.Identity = &comatproto.SyncSubscribeRepos_Identity{Did: did, Seq: e.TimeUS, Time: time.UnixMicro(e.TimeUS).UTC().Format(time.RFC3339Nano)}
		return e
	}
	e.Kind = models.EventKindCommit
	e.Commit = &models.Commit{Rev: p.word(13), Operation: models.CommitOperationCreate, Collection: "app.bsky.feed.like", RKey: p.word(13), CID: "bafyrei" + p.word(52)}
	if p.rand.IntN(3) == 0 {
		e.Commit.Collection = "app.bsky.feed.post"
	}
	e.Commit.Record = fmt.Appendf(nil, `{"$type":"%s","createdAt":"2026-08-01T12:00:00.000Z","subject":{"cid":"bafyrei%s","uri":"at://did:plc:%s/app.bsky.feed.post/%s"}}`,
		e.Commit.Collection, p.word(52), p.word(24), p.word(13))
	return e
}

// did returns the DID of account n.
func did(n int) string {
	return "did:plc:aaaaaaaaaaaaaaaaaaaaa" + string([]byte{'a' + byte(n/676), 'a' + byte(n/26%26), 'a' + byte(n%26)})
}

// word returns n random letters of the alphabet of identifiers.
func (p *producer) word(n int) string {
	const letters = "234567abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[p.rand.IntN(len(letters))]
	}
	return string(b)
}
