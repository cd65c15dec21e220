package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"tempestd/internal/config"
	"tempestd/internal/owner"
)

// files looks at the rights to the directory of the data.
func (x *examination) files() {
	dir, err := existing(x.cfg.DataDir)
	if err != nil {
		x.tell("permissions", x.cfg.DataDir, Failure, "%v", err)
		return
	}
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		x.tell("permissions", dir, Failure, "this user cannot write there: %v; the daemon's user must", pathless(err))
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	if dir != x.cfg.DataDir {
		x.tell("permissions", x.cfg.DataDir, OK, "not there yet; it can be made in %s", dir)
		return
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o002 != 0 {
		x.tell("permissions", dir, Warning, "every user can write there: chmod o-w")
		return
	}
	of := owner.Of(dir)
	if names, err := of.Foreign(); err == nil && len(names) > 0 {
		x.tell("permissions", dir, Failure, "%d of its files belong to another user than the directory, %.100q first; the daemon's user may not open them: chown -R", len(names), names[0])
		return
	}
	x.tell("permissions", dir, OK, "this user can write there")
}

// existing returns the directory, or the nearest one above it that exists.
func existing(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch parent := filepath.Dir(dir); {
		case err == nil && !info.IsDir():
			return dir, fmt.Errorf("%s is not a directory", dir)
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist) || parent == dir:
			return dir, err
		default:
			dir = parent
		}
	}
}

func pathless(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// disk compares the file system with what is kept.
func (x *examination) disk() {
	level, detail := SpaceOf(x.cfg)
	x.tell("disk", x.cfg.DataDir, level, "%s", detail)
}

// SpaceOf compares the file system of data_dir with what the configuration keeps there.
func SpaceOf(cfg *config.Config) (Level, string) {
	var st unix.Statfs_t
	dir, err := existing(cfg.DataDir)
	if err == nil {
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return Warning, fmt.Sprintf("its free space cannot be read: %v", err)
	}
	free, total := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	level, detail := space(cfg, free, total)
	if st.Files > 0 && st.Ffree < leastInodes && level == OK {
		return Warning, fmt.Sprintf("%s; only %d inodes are free", detail, st.Ffree)
	}
	return level, detail
}

// leastInodes is how many files a store may need to make.
const leastInodes = 1000

// space judges a file system with so many bytes.
func space(cfg *config.Config, free, total uint64) (Level, string) {
	detail := fmt.Sprintf("%s of %s free", humanize.IBytes(free), humanize.IBytes(total))
	reserve := uint64(cfg.Stream.MinFree)
	if free < reserve {
		return Failure, fmt.Sprintf("%s, less than stream.min_free, which is %s: nothing would be stored", detail, humanize.IBytes(reserve))
	}
	if cfg.Stream.Backend != config.BackendEmbedded {
		return OK, detail
	}
	var kept uint64
	for i := range cfg.Feeds {
		bytes := cfg.Feeds[i].Retention.Bytes
		if bytes == 0 {
			return OK, detail + "; a feed has no retention.bytes, so nothing says whether it is enough"
		}
		kept += uint64(bytes)
	}
	detail += fmt.Sprintf("; the feeds keep up to %s", humanize.IBytes(kept))
	if kept+reserve > total {
		return Warning, detail + ", more than the disk has beside stream.min_free: appends stop when it is full; lower retention.bytes"
	}
	return OK, detail
}

// limits looks at what the system lets the process have.
func (x *examination) limits() {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		x.tell("limits", "", Warning, "the limit of open files cannot be read: %v", err)
		return
	}
	// Go raises the soft limit to the hard one.
	need := uint64(x.cfg.HTTP.MaxConnections) + uint64(x.cfg.FilesOfItsOwn())
	if limit := uint64(files.Max); limit < need {
		x.tell("limits", "open files", Warning, "%d, for http.max_connections = %d and %d feeds it takes %d: LimitNOFILE in the unit, or fewer connections", limit, x.cfg.HTTP.MaxConnections, len(x.cfg.Feeds), need)
		return
	}
	x.tell("limits", "open files", OK, "%d, at most %d are needed", uint64(files.Max), need)
}

// port finds out whether the listener can have its address.
func (x *examination) port(ctx context.Context) {
	addr := x.cfg.HTTP.Listen
	if addr == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		_ = ln.Close()
		x.tell("port", addr, OK, "free: no daemon is running there")
	case errors.Is(err, syscall.EADDRINUSE):
		x.taken(ctx, addr)
	default:
		x.tell("port", addr, Failure, "%v", err)
	}
}

// taken says who has the address.
func (x *examination) taken(ctx context.Context, addr string) {
	host, port, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	client := http.Client{Timeout: x.Timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err == nil {
		var resp *http.Response
		if resp, err = client.Do(req); err == nil {
			defer resp.Body.Close()
			body := make([]byte, 4<<10)
			n, _ := resp.Body.Read(body)
			switch text := strings.TrimSpace(string(body[:n])); {
			case resp.StatusCode == http.StatusOK && strings.Contains(text, `"ready":true`):
				x.tell("port", addr, OK, "a daemon is running there, and is ready")
				return
			case resp.StatusCode == http.StatusServiceUnavailable:
				x.tell("port", addr, Warning, "a daemon is running there, and is not ready: %s", text)
				return
			}
			err = fmt.Errorf("it answers with %d", resp.StatusCode)
		}
	}
	x.tell("port", addr, Failure, "another program has it: %v", err)
}
