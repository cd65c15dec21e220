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
)

const (
	// maxDictionary bounds what a server can give out as one, in bytes; the known ones have 64 and 110 KiB.
	maxDictionary = 1 << 20
	// dictionaryTimeout bounds the download, which delays the dial.
	dictionaryTimeout = 5 * time.Second
	// dictionarySuffix ends the names of the files they are kept in: <host>.<ID>.<SHA-256>.zdict. The sum matters: with a damaged dictionary
	// messages may well unpack, to something else.
	dictionarySuffix = ".zdict"
)

// dictionary gives the host's dictionary: the one at hand, unless it is the one with the ID stale, or what the host gives out. That there is none is
// remembered, a fault of the network is not.
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

// fetchDictionary downloads the dictionary that the endpoint's server compresses with. passing says that an error may be gone the next time.
func (d *dialer) fetchDictionary(ctx context.Context) (dict *dictionary, passing bool, err error) {
	ctx, cancel := clockwork.WithTimeout(ctx, d.opt.Clock, dictionaryTimeout)
	defer cancel()
	e := d.req.Endpoint
	path := dictionaryPath
	if prefix, ok := strings.CutSuffix(e.path, eventsPath); ok {
		path = prefix + dictionaryPath
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
	if said := resp.Header.Get("X-Zstd-Dictionary-Id"); said != "" && said != strconv.FormatUint(uint64(dict.id), 10) {
		return nil, false, fmt.Errorf("the server says that it is %.20q, and it is %d", said, dict.id)
	}
	return dict, false, nil
}

// dictionaryOf is the newest dictionary of a host that is at hand, nil for none.
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

// Dictionary is the newest dictionary that the host ("host:port") gave out and that is at hand, nil for none. It must not be changed.
func (n *Negotiator) Dictionary(host string) []byte {
	if d := n.dictionaryOf(host); d != nil {
		return d.data
	}
	return nil
}

// keepDictionary keeps a host's newest dictionary. What cannot be written is downloaded again after a restart.
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

// forgetDictionary forgets a host's dictionary: something was wrong with what it unpacked.
func (n *Negotiator) forgetDictionary(host string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeDictionaries(host)
	delete(n.dictionaries, host)
}

// readDictionary reads a host's dictionary from its file; one that is not as it was written is none.
func (n *Negotiator) readDictionary(host string) *dictionary {
	for _, file := range n.dictionaryFiles(host) {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, maxDictionary+1))
		_ = f.Close() // it was only read
		if err != nil {
			continue
		}
		if d, err := parseDictionary(data); err == nil && filepath.Base(file) == dictionaryFile(host, d) {
			return d
		}
	}
	return nil
}

// writeDictionary writes a file that is there with all of its contents or not at all.
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
		_ = os.Remove(file) // the newest one is told by its ID
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
