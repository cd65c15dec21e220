package daemon

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/observe"
)

// lookEvery is how often the files of the certificate are looked at, when a client connects.
const lookEvery = time.Second

// certificate is the listener's certificate. It is read again when its files have changed; what
// cannot be read leaves the old one in force. It is safe for concurrent use.
type certificate struct {
	daemon    *daemon
	cert, key string

	mu     sync.Mutex
	have   *tls.Certificate
	seen   [2]stamp
	looked time.Time
}

// stamp tells a changed file.
type stamp struct {
	changed time.Time
	size    int64
}

// secure returns how the listener speaks TLS, nil for plain HTTP.
func (d *daemon) secure(cfg *config.Config) (*tls.Config, error) {
	if cfg.HTTP.TLSCertFile == "" {
		return nil, nil
	}
	c := &certificate{daemon: d, cert: cfg.HTTP.TLSCertFile, key: cfg.HTTP.TLSKeyFile}
	c.seen = c.stamps()
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("http.tls_cert_file: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // websockets and deadlines need a connection of their own
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current(), nil
		},
	}, nil
}

func (c *certificate) stamps() (all [2]stamp) {
	for i, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			all[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return all
}

func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.have = &pair
	}
	return err
}

// current returns the certificate, read again if its files have changed.
func (c *certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.daemon.clock.Now()
	if now.Sub(c.looked) < lookEvery {
		return c.have
	}
	c.looked = now
	if seen := c.stamps(); seen != c.seen {
		c.seen = seen
		if err := c.read(); err != nil {
			c.daemon.observer.Emit(observe.CertificateFailed, "", "file", c.cert, "error", err)
		} else {
			c.daemon.observer.Emit(observe.CertificateRead, "", "file", c.cert)
		}
	}
	return c.have
}
