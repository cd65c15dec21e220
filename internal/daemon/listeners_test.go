package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/internal/config"
)

// status returns the status of a request without a token.
func status(t *testing.T, method, url string) int {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// The control socket needs no token, and only the daemon's user may open it. A socket that a daemon
// left behind is replaced. The listener for metrics has nothing else.
func TestTheControlSocketAndTheListenerForMetrics(t *testing.T) {
	sim := newSim(t)
	dir, err := os.MkdirTemp("", "c") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := configure(dir, sim.URL())
	cfg.HTTP.Token = config.NewSecret("a token of the test")
	cfg.HTTP.ControlSocket = "auto"
	if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
		t.Fatal(err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: cfg.Socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.MetricsListen = port.Addr().String()
	port.Close()

	d := start(t, cfg)
	info, err := os.Stat(cfg.Socket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v, %v", info.Mode(), err)
	}
	control := client.NewSocket(cfg.Socket())
	if feeds, err := control.Feeds(t.Context()); err != nil || len(feeds) != 1 {
		t.Errorf("the control socket gives %v, %v", feeds, err)
	}
	if _, err := d.Feeds(t.Context()); err == nil {
		t.Error("the listener needs no token")
	}
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/v1/feeds": 404, "/": 404} {
		if got := status(t, "GET", "http://"+cfg.MetricsListen+path); got != want {
			t.Errorf("%s of the listener for metrics is answered %d, want %d", path, got, want)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	control.Close()
	d.finish(t)
	if _, err := os.Stat(cfg.Socket()); err == nil {
		t.Error("the control socket is left behind")
	}
}

// certify writes a new certificate and its key, and returns its number.
func certify(t *testing.T, cert, key string) *big.Int {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number := big.NewInt(time.Now().UnixNano())
	template := &x509.Certificate{SerialNumber: number, Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return number
}

// The listener speaks TLS, and has the certificate that is in the files, but not one that is broken.
func TestTheCertificateIsReadAgainWhenItChanges(t *testing.T) {
	sim := newSim(t)
	dir := t.TempDir()
	cfg := configure(filepath.Join(dir, "data"), sim.URL())
	cfg.HTTP.TLSCertFile, cfg.HTTP.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := certify(t, cfg.HTTP.TLSCertFile, cfg.HTTP.TLSKeyFile)
	d := start(t, cfg)
	defer d.finish(t)
	addr := d.Addr()[len("http://"):]
	shown := func() *big.Int {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	until := func(want *big.Int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); shown().Cmp(want) != 0; <-time.After(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the certificate in the files is not shown")
			}
		}
	}
	until(first)
	second := certify(t, cfg.HTTP.TLSCertFile, cfg.HTTP.TLSKeyFile)
	until(second)
	if err := os.WriteFile(cfg.HTTP.TLSCertFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); len(d.log.of("certificate.failed")) == 0; <-time.After(20 * time.Millisecond) {
		if shown().Cmp(second) != 0 || time.Now().After(end) {
			t.Fatal("a broken certificate is not told of, or took the place of the old one")
		}
	}
}
