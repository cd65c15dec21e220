// Command follow subscribes with the official Go client of legacy Jetstream servers and prints
// every commit that it gets, until it is killed. When the connection ends, it resumes by time, as
// users of that client do.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/bluesky-social/jetstream/pkg/client"
	"github.com/bluesky-social/jetstream/pkg/client/schedulers/sequential"
	"github.com/bluesky-social/jetstream/pkg/models"
)

func main() {
	url := flag.String("url", "", "websocket URL")
	compress := flag.Bool("compress", false, "ask for zstd, as the client does by default")
	count := flag.Int("count", 0, "end after so many commits, and print none")
	collections := flag.String("collections", "", "wanted collections, with commas between them")
	flag.Parse()
	config := client.DefaultClientConfig()
	config.WebsocketURL, config.Compress = *url, *compress
	if *collections != "" {
		config.WantedCollections = strings.Split(*collections, ",")
	}
	cursor := int64(1_000_000_000_000_000) // the least time: resume from the oldest event
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	scheduler := sequential.NewScheduler("follow", logger, func(_ context.Context, e *models.Event) error {
		cursor = max(cursor, e.TimeUS)
		if c := e.Commit; c != nil && *count > 0 {
			if *count--; *count == 0 {
				os.Exit(0)
			}
		} else if c != nil {
			fmt.Println(e.Did, c.Rev, c.Operation, c.Collection, c.RKey)
		}
		return nil
	})
	c, err := client.NewClient(config, logger, scheduler)
	if err != nil {
		log.Fatal(err)
	}
	for {
		from := cursor
		log.Print(c.ConnectAndRead(context.Background(), &from))
		time.Sleep(100 * time.Millisecond)
	}
}
