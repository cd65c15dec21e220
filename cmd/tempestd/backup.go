package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
	"tempestd/internal/version"
	"tempestd/persistence"
	"tempestd/persistence/embedded/backup"
)

func (a *app) backupCommand() *cobra.Command {
	var offline, asJSON, link bool
	var dataDir string
	var rate int
	c := &cobra.Command{
		Use:   "backup <directory>",
		Short: "Copy all that is stored to a directory",
		Long: `Backup makes a copy of the streams, the checkpoints and the consumers, as they are at one instant,
in a directory of this machine. The daemon goes on: it names its files, and keeps them while this
command copies them. So the command runs on the daemon's machine, as its user or as root. With
--offline it reads the data directory itself; the daemon must be stopped then.

Into the same directory again it copies only what is new, and removes what is stored no longer. A
backup that is cut short leaves the one before it as it was. With --link, files that never change
become hard links where the file system allows: that takes no space, and outlives what retention
drops, but it is the same bytes on the same disk, and not safe from what damages them.

--json prints one document: {"dir":…,"streams":[…],"files":n,"bytes":n,
"copied":{"files":n,"bytes":n},"linked":{…},"kept":{…},"removed":n}.

Exit codes: 0 the backup is whole, 1 it is not, 2 the command line or the configuration is wrong.`,
		Example: `  tempestd backup /backup/tempestd
  tempestd backup /mnt/usb/tempestd --json
  tempestd backup /backup/tempestd --offline -c /etc/tempestd/config.toml`,
		Args: exactly("the directory of the backup"),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if rate < 0 || rate > 4096 {
				return usage("--rate: got %d; accepted: 1 to 4096 MiB a second, 0 for the default", rate)
			}
			if offline = offline || dataDir != ""; rate == 0 && !offline {
				rate = backupRate
			}
			p := &meter{w: a.err}
			opt := backup.Options{Version: version.This().Version, Now: time.Now(), Link: link, BytesPerSecond: int64(rate) << 20, Progress: func(r backup.Report) {
				p.show(fmt.Sprintf("%d files, %s; copied %s", r.Files, humanize.IBytes(uint64(r.Bytes)), humanize.IBytes(uint64(r.Copied.Bytes))))
			}}
			var done backup.Report
			if offline {
				done, err = a.backupOffline(c, dataDir, dir, opt)
			} else {
				done, err = a.backupOnline(c, dir, opt)
			}
			p.clear()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, done)
			}
			fmt.Fprintf(a.out, "%s: %s, %s in %s: %s copied, %s linked, %s there before\n", plain.Line(dir), plural(len(done.Streams), "stream"), humanize.IBytes(uint64(done.Bytes)), plural(done.Files, "file"),
				humanize.IBytes(uint64(done.Copied.Bytes)), humanize.IBytes(uint64(done.Linked.Bytes)), humanize.IBytes(uint64(done.Kept.Bytes)))
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	a.clientFlags(c)
	a.dataDirFlag(c, &dataDir)
	c.Flags().BoolVar(&offline, "offline", false, "read the data directory itself, which no daemon may use meanwhile")
	c.Flags().BoolVar(&link, "link", false, "make hard links where the file system can")
	c.Flags().IntVar(&rate, "rate", 0, "read up to so many `MiB` a second (default 64, offline no bound)")
	jsonFlag(c, &asJSON)
	return c
}

// backupRate bounds, in MiB/s, the reads and the writes of a backup beside a daemon, because the
// daemon's feeds may write to the same disk.
const backupRate = 64

func (a *app) backupOnline(c *cobra.Command, dir string, opt backup.Options) (done backup.Report, err error) {
	err = a.withClient(func(daemon *client.Client) error {
		snapshot, release, err := daemon.Snapshot(c.Context())
		if err != nil {
			return err
		}
		defer release()
		src, err := backup.FromSnapshot(snapshot)
		if err == nil {
			done, err = backup.Write(c.Context(), src, dir, opt)
		}
		return err
	})
	return done, noDaemon(err)
}

func (a *app) backupOffline(c *cobra.Command, dataDir, dir string, opt backup.Options) (backup.Report, error) {
	from, err := a.dataDir(dataDir)
	if err != nil {
		return backup.Report{}, err
	}
	var done backup.Report
	err = inDataDir(from, func() error {
		done, err = backup.Offline(c.Context(), from, dir, opt, a.tellDamage)
		return err
	})
	return done, held(err, "leave out --offline to ask it, or stop it first")
}

// tellDamage reports the damage that was found when a store was opened.
func (a *app) tellDamage(e persistence.Notice) {
	switch e := e.(type) {
	case persistence.FileDamaged:
		aside := ""
		if e.Aside != "" {
			aside = "; what was not understood is in " + e.Aside
		}
		fmt.Fprintf(a.err, "%s: %s%s\n", plain.Line(e.File), plain.Line(e.Err.Error()), plain.Line(aside))
	case persistence.StateLost:
		fmt.Fprintf(a.err, "the state beside the streams was made anew: %s; these consumers may be where they were before: %v\n", plain.Line(e.Err.Error()), e.Consumers)
	case persistence.LogTruncated:
		fmt.Fprintf(a.err, "stream %s ends with %s, and %s is known to have been stored\n", plain.Line(e.Stream), e.Found, e.Expected)
	}
}

func (a *app) restoreCommand() *cobra.Command {
	var asJSON bool
	var dataDir string
	c := &cobra.Command{
		Use:   "restore <directory>",
		Short: "Put a backup in the place of a data directory",
		Long: `Restore copies a backup to the data directory, which must be empty or not there, and compares every
byte with the backup's checksums. All of it is restored or nothing. A daemon that is started on it
goes on where the backup was made: it resumes each feed from there, and the upstream replays what
has come since, as far back as it can; beyond that a gap is recorded.

Do not run a daemon on the restored directory while another runs on the one that it is a copy of.

--json prints one document: {"data_dir":…,"made":…,"streams":[…],"files":n,"bytes":n}.

Exit codes: 0 restored, 1 nothing was restored, 2 the command line or the configuration is wrong.`,
		Example: `  tempestd restore /backup/tempestd
  tempestd restore /backup/tempestd --data-dir /var/lib/tempestd`,
		Args: exactly("the directory of the backup"),
		RunE: func(c *cobra.Command, args []string) error {
			to, err := a.dataDir(dataDir)
			if err != nil {
				return err
			}
			p := &meter{w: a.err}
			var done backup.Restored
			err = inDataDir(to, func() error {
				done, err = backup.Restore(c.Context(), args[0], to, func(r backup.Restored) {
					p.show(fmt.Sprintf("%d files, %s", r.Files, humanize.IBytes(uint64(r.Bytes))))
				})
				return err
			})
			p.clear()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, done)
			}
			fmt.Fprintf(a.out, "%s: restored %s, %s in %s, as of %s\n", plain.Line(to), plural(len(done.Streams), "stream"), humanize.IBytes(uint64(done.Bytes)), plural(done.Files, "file"),
				done.Made.Format(time.RFC3339))
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	a.configFlag(c)
	a.dataDirFlag(c, &dataDir)
	jsonFlag(c, &asJSON)
	return c
}
