package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
)

const (
	// maxDictionary bounds the size of a dictionary that a server gives out, in bytes; the known
	// ones have 64 and 110 KiB.
	maxDictionary = 1 << 20
	// dictionaryTimeout bounds the download, which delays the dial.
	dictionaryTimeout = 5 * time.Second
	// dictionarySuffix ends the names of the files that hold dictionaries:
	// <host>.<ID>.<SHA-256>.zdict. The checksum matters: with a damaged dictionary messages may
	// well decompress, but to other contents.
	dictionarySuffix = ".zdict"
)

// dictionary returns the host's dictionary: the one in memory or on disk, unless its ID is stale,
// or else the one that the host gives out. It remembers that a host has none; it does not remember
// a network error.
func (d *dialer) dictionary(ctx context.Context, stale uint32) (*dictionary, error) {
	n, e := d.memory, d.req.Endpoint
	if why := n.about(e).bare.why; why != "" {
		return nil, errors.New(why)
	}
	if known := n.dictionaryOf(e.host); known != nil && known.id != stale {
		return known, nil
	}
	fetched, passing, err := d.fetchDictionary(ctx)
	if err == nil && fetched.id == stale {
		err = fmt.Errorf("the server gives out %d and does not know it", stale)
	}
	if err != nil {
		err = fmt.Errorf("no dictionary: %w", err)
		if !passing {
			n.hasNoDictionary(e, printable(err.Error()))
		}
		return nil, err
	}
	n.keepDictionary(e.host, fetched)
	return fetched, nil
}

// fetchDictionary downloads the dictionary that the endpoint's server compresses with. passing says
// that the error may be gone the next time.
func (d *dialer) fetchDictionary(ctx context.Context) (dict *dictionary, passing bool, err error) {
	ctx, cancel := clockwork.WithTimeout(ctx, d.opt.Clock, dictionaryTimeout)
	defer cancel()
	e := d.req.Endpoint
	path := atproto.DictionaryPath
	if prefix, ok := strings.CutSuffix(e.path, atproto.EventsPath); ok {
		path = prefix + atproto.DictionaryPath
	}
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url("http", path, ""), nil)
	if err != nil {
		return nil, false, withoutURL(err)
	}
	if d.opt.UserAgent != "" {
		get.Header.Set("User-Agent", d.opt.UserAgent)
	}
	client, _, _ := d.httpClient(ctx)
	resp, err := client.Do(get)
	if err != nil {
		return nil, true, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		resp.Body = io.NopCloser(io.LimitReader(resp.Body, maxRefusalBody))
		refusal := refused(resp, d.opt.Clock.Now())
		return nil, !refusal.Permanent, refusal
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDictionary+1))
	if err != nil {
		return nil, true, fmt.Errorf("download it: %w", err)
	}
	if len(data) > maxDictionary {
		return nil, false, fmt.Errorf("it has more than %d bytes", maxDictionary)
	}
	if dict, err = parseDictionary(data); err != nil {
		return nil, false, err
	}
	if said := resp.Header.Get(atproto.DictionaryHeader); said != "" && said != strconv.FormatUint(uint64(dict.id), 10) {
		return nil, false, fmt.Errorf("the server says that it is %.20q, and it is %d", said, dict.id)
	}
	return dict, false, nil
}

// dictionaryOf returns the newest known dictionary of a host, nil for none.
func (n *Negotiator) dictionaryOf(host string) *dictionary {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dictionaries[host] == nil {
		n.dictionaries[host] = n.readDictionary(host)
	}
	return n.dictionaries[host]
}

// Dictionary returns the newest known dictionary that the host ("host:port") gave out, nil for
// none. The caller must not change it. It is safe for concurrent use.
func (n *Negotiator) Dictionary(host string) []byte {
	if d := n.dictionaryOf(host); d != nil {
		return d.data
	}
	return nil
}

// keepDictionary keeps a host's newest dictionary. If its file cannot be written, the dictionary is
// downloaded again after a restart.
func (n *Negotiator) keepDictionary(host string, d *dictionary) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeDictionaries(host)
	n.dictionaries[host] = d
	if n.dir != "" {
		_ = n.writeDictionary(host, d)
	}
}

// forgetDictionary removes a host's dictionary, because a message could not be decompressed with
// it.
func (n *Negotiator) forgetDictionary(host string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeDictionaries(host)
	delete(n.dictionaries, host)
}

// readDictionary reads a host's dictionary from its file. It ignores a file whose contents do not
// have the ID and the checksum of its name.
func (n *Negotiator) readDictionary(host string) *dictionary {
	for _, file := range n.dictionaryFiles(host) {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, maxDictionary+1))
		_ = f.Close() // only read: a close error does not matter
		if err != nil {
			continue
		}
		if d, err := parseDictionary(data); err == nil && filepath.Base(file) == dictionaryFile(host, d) {
			return d
		}
	}
	return nil
}

// writeDictionary writes a dictionary to its file. The file has all of its contents or does not
// exist.
func (n *Negotiator) writeDictionary(host string, d *dictionary) (err error) {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(n.dir, ".zdict-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(d.data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(n.dir, dictionaryFile(host, d)))
}

func (n *Negotiator) removeDictionaries(host string) {
	for _, file := range n.dictionaryFiles(host) {
		_ = os.Remove(file) // a file that stays does no harm: the server rejects an old ID
	}
}

// dictionaryFiles lists the files of a host's dictionaries.
func (n *Negotiator) dictionaryFiles(host string) (files []string) {
	if n.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil
	}
	prefix := url.QueryEscape(host) + "."
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), dictionarySuffix)
		rest, ofHost := strings.CutPrefix(name, prefix)
		id, _, _ := strings.Cut(rest, ".")
		if _, err := strconv.ParseUint(id, 10, 32); ok && ofHost && err == nil && e.Type().IsRegular() {
			files = append(files, filepath.Join(n.dir, e.Name()))
		}
	}
	return files
}

func dictionaryFile(host string, d *dictionary) string {
	sum := sha256.Sum256(d.data)
	return fmt.Sprintf("%s.%d.%s%s", url.QueryEscape(host), d.id, hex.EncodeToString(sum[:]), dictionarySuffix)
}
