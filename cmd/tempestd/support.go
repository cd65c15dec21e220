package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/doctor"
	"tempestd/internal/version"
)

func (a *app) supportCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "support",
		Short: "Collect everything that helps to find a fault, without secrets",
		Long: `Support writes one archive (tar, gzip) with the version, the configuration with its secrets
masked, what doctor finds, and of the running daemon the status, the gaps, the metrics, the newest
lines of the log and the stacks of its goroutines; and the journal of the unit, where there is one.
What cannot be had is named in missing.txt. Look at it before you send it: it has the names of
your feeds, servers and accounts.`,
		Example: `  tempestd support
  tempestd support -o - | tar tz`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			now := time.Now()
			if output == "" {
				output = "tempestd-support-" + now.UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			b := a.collect(c.Context())
			if output == "-" {
				return b.write(a.out, now)
			}
			f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			if err := errors.Join(b.write(f, now), f.Close()); err != nil {
				return err
			}
			fmt.Fprintln(a.out, output)
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "`file` to write, - for standard output (default tempestd-support-<time>.tar.gz)")
	a.clientFlags(c)
	return c
}

// bundle is what a support archive has.
type bundle struct {
	names   []string
	files   map[string][]byte
	missing bytes.Buffer
	secrets []string
}

// add adds a file, without secrets, or the reason why it is missing.
func (b *bundle) add(name string, content []byte, err error) {
	if err != nil {
		fmt.Fprintf(&b.missing, "%s: %v\n", name, err)
		return
	}
	for _, secret := range b.secrets {
		content = bytes.ReplaceAll(content, []byte(secret), []byte("***"))
	}
	b.names = append(b.names, name)
	b.files[name] = content
}

// addJSON adds a document.
func (b *bundle) addJSON(name string, v any, err error) {
	var text bytes.Buffer
	if err == nil {
		err = printJSON(&text, v)
	}
	b.add(name, text.Bytes(), err)
}

// Bounds of what is collected.
const (
	journalLines  = "2000"
	journalMost   = 8 << 20 // bytes
	journalTime   = 10 * time.Second
	leastRedacted = 6 // a shorter secret would blot out ordinary words
)

// collect asks for everything.
func (a *app) collect(ctx context.Context) *bundle {
	b := &bundle{files: map[string][]byte{}}
	cfg, err := a.loadConfig()
	if err == nil {
		for _, s := range cfg.Secrets() {
			if len(s) >= leastRedacted {
				b.secrets = append(b.secrets, s)
			}
		}
	}
	b.addJSON("version.json", version.This(), nil)
	b.add("config.toml", configText(cfg), err)
	b.addJSON("doctor.json", doctor.Examine(ctx, cfg, err, doctor.Options{Clock: clockwork.NewRealClock(), UserAgent: version.UserAgent(version.This().Version)}), nil)
	if err := a.withClient(func(c *client.Client) error { b.ask(ctx, c); return nil }); err != nil {
		b.add("status.json", nil, err)
	}
	text, err := journal(ctx)
	b.add("journal.txt", text, err)
	b.add("missing.txt", b.missing.Bytes(), nil)
	return b
}

func configText(cfg *config.Config) []byte {
	if cfg == nil {
		return nil
	}
	var text bytes.Buffer
	_ = cfg.WriteTOML(&text) // a buffer does not fail
	return text.Bytes()
}

// ask asks the daemon.
func (b *bundle) ask(ctx context.Context, c *client.Client) {
	s, err := fetchStatus(ctx, c)
	b.addJSON("status.json", s, err)
	gaps, err := c.Gaps(ctx, client.GapQuery{})
	b.addJSON("gaps.json", gaps, err)
	for _, part := range []struct {
		name string
		get  func(context.Context) ([]byte, error)
	}{{"metrics.txt", c.Metrics}, {"log.txt", c.Log}, {"goroutines.txt", c.Goroutines}} {
		text, err := part.get(ctx)
		b.add(part.name, text, err)
	}
}

// journal returns the newest lines of the unit's journal.
func journal(ctx context.Context) ([]byte, error) {
	program, err := exec.LookPath("journalctl")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, journalTime)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, "-u", "tempestd", "-n", journalLines, "-o", "short-iso", "--no-pager", "-q").Output()
	return text[max(len(text)-journalMost, 0):], err
}

// write writes the archive.
func (b *bundle) write(w io.Writer, now time.Time) error {
	dir := "tempestd-support-" + now.UTC().Format("20060102T150405Z")
	packed := gzip.NewWriter(w)
	archive := tar.NewWriter(packed)
	for _, name := range b.names {
		content := b.files[name]
		if err := archive.WriteHeader(&tar.Header{Name: path.Join(dir, name), Mode: 0o600, Size: int64(len(content)), ModTime: now, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := archive.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), packed.Close())
}
