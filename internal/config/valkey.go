package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/persistence/valkey"
)

// maxPEMFile bounds the size of the certificate files that a configuration names.
const maxPEMFile = 4 * mib

// Valkey configures the store that several daemons share.
type Valkey struct {
	Addresses                      []string
	Mode                           string // "auto", "standalone", "sentinel", "cluster"
	SentinelMaster                 string
	Username, SentinelUsername     string
	Password, SentinelPassword     Secret
	Database                       int
	Prefix                         string
	TLS                            bool
	CAFile, CertFile, KeyFile      string
	ServerName                     string
	ConnectTimeout, CommandTimeout time.Duration
	Durability                     string   // "memory", "aof", "replicas"
	Replicas                       int      // with "replicas": how many
	Fields                         []string // stored in addition to "json"
}

// HA configures how daemons that share a store share the feeds.
type HA struct {
	Enabled    bool
	Name       string        // "" means the host's name
	Candidate  bool          // false: the daemon never owns a feed
	LeaseTTL   time.Duration // how long a silent owner keeps a feed
	RenewEvery time.Duration // 0 means a third of LeaseTTL
}

// ClientTLS returns the configuration of the TLS keys, or nil without TLS. Its errors name the
// file.
func (v *Valkey) ClientTLS() (*tls.Config, error) {
	if !v.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: v.ServerName}
	if v.CAFile != "" {
		pem, err := readBounded(v.CAFile, maxPEMFile)
		if err != nil {
			return nil, fmt.Errorf("tls_ca_file: %s", reason(err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("tls_ca_file: has no certificate in PEM")
		}
	}
	if v.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(v.CertFile, v.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls_cert_file: %s", reason(err))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Options returns the options of the store in the server, without a clock and without notices.
func (v *Valkey) Options() (valkey.Options, error) {
	tls, err := v.ClientTLS()
	if err != nil {
		return valkey.Options{}, fmt.Errorf("valkey: %w", err)
	}
	return valkey.Options{
		Addresses: v.Addresses, Mode: v.Mode, SentinelMaster: v.SentinelMaster,
		Username: v.Username, Password: v.Password.Reveal(), SentinelUsername: v.SentinelUsername, SentinelPassword: v.SentinelPassword.Reveal(),
		DB: v.Database, Prefix: v.Prefix, TLS: tls, ConnectTimeout: v.ConnectTimeout, CommandTimeout: v.CommandTimeout,
		Durability: v.Durability, Replicas: v.Replicas, Fields: v.Fields, Describe: jetstream.Describe,
	}, nil
}

// readPasswords reads the files that hold passwords.
func (l *loader) readPasswords() {
	for _, p := range []struct {
		key, file string
		to        *Secret
	}{
		{"valkey.password", l.draft.passwordFile, &l.draft.Valkey.Password},
		{"valkey.sentinel_password", l.draft.sentinelPasswordFile, &l.draft.Valkey.SentinelPassword},
	} {
		if p.file == "" {
			continue
		}
		name := p.key + "_file"
		secret := l.secretFile(name, p.file, "password")
		if at, both := l.lines[p.key]; both {
			l.report(max(at, l.lines[name]), name, "found "+p.key+" as well", "want one of the two")
		}
		*p.to = cmp.Or(*p.to, secret)
	}
}

// finishValkey checks the rules that involve several keys of [valkey] and [ha].
func (l *loader) finishValkey() {
	v, ha := &l.draft.Valkey, &l.draft.HA
	report := func(key, found, want string) {
		if !l.wrong(key) {
			l.report(l.lines[key], key, found, want)
		}
	}
	if l.draft.Stream.Backend != BackendValkey {
		if ha.Enabled {
			report("ha.enabled", `found true with [stream] backend = "embedded"`, `want backend = "valkey", which daemons can share`)
		}
		if !ha.Candidate {
			report("ha.candidate", `found false with [stream] backend = "embedded"`, `want backend = "valkey", which daemons can share`)
		}
		return
	}
	if len(v.Addresses) == 0 {
		report("valkey.addresses", "missing", `want an array of host:port, such as ["127.0.0.1:6379"]`)
	}
	if v.Mode == valkey.ModeSentinel && v.SentinelMaster == "" {
		report("valkey.sentinel_master", `missing with mode = "sentinel"`, "want the name that the sentinels know the primary by")
	}
	if v.SentinelMaster != "" && (v.Mode == valkey.ModeStandalone || v.Mode == valkey.ModeCluster) {
		report("valkey.sentinel_master", fmt.Sprintf("found with mode = %q", v.Mode), `want it with mode = "sentinel" or "auto"`)
	}
	if v.Mode == valkey.ModeCluster && v.Database != 0 {
		report("valkey.database", fmt.Sprintf("found %d with mode = \"cluster\"", v.Database), "want 0, the only one that a cluster has")
	}
	if v.Replicas != 1 && v.Durability != valkey.DurabilityReplicas {
		report("valkey.replicas", fmt.Sprintf("found %d with durability = %q", v.Replicas, v.Durability), `want it with durability = "replicas"`)
	}
	if (v.CertFile == "") != (v.KeyFile == "") {
		report("valkey.tls_cert_file", "found one of tls_cert_file and tls_key_file", "want both or neither")
	} else if !v.TLS && (v.CAFile != "" || v.CertFile != "" || v.ServerName != "") {
		report("valkey.tls", "found false with tls_… keys", "want true, or none of them")
	} else if _, err := v.ClientTLS(); err != nil {
		report("valkey.tls", err.Error(), "want readable PEM files")
	}
	if 2*ha.RenewEvery > ha.LeaseTTL {
		report("ha.renew_every", "found "+showDuration(ha.RenewEvery), "want at most half of lease_ttl, which is "+showDuration(ha.LeaseTTL))
	}
}
