package foreigntest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/cli"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
)

// running is a node in this process.
type running struct {
	home, url string
	cert      string // file, of a node with TLS
}

// start runs a node in a new home until the test ends. With TLS it has a new
// self-signed certificate.
func start(t *testing.T, secure bool) *running {
	t.Helper()
	n := &running{home: t.TempDir()}
	c := config.Default(n.home)
	c.Gateway.Listen, c.Admin.Listen, c.Scrub.Enabled = "127.0.0.1:0", "", false
	if secure {
		c.Gateway.TLSCert, c.Gateway.TLSKey = certify(t)
		n.cert = c.Gateway.TLSCert
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan control.Status, 1), make(chan error, 1)
	go func() {
		done <- node.Serve(ctx, c, node.Options{Version: "test", Ready: func(s control.Status) { ready <- s }})
	}()
	select {
	case s := <-ready:
		n.url = s.Addresses["gateway"]
	case err := <-done:
		cancel()
		t.Fatalf("serve: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return n
}

// certify writes a new self-signed certificate for 127.0.0.1.
func certify(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// hashstream runs the command in a home and returns what it printed.
func hashstream(t *testing.T, home string, args ...string) string {
	t.Helper()
	var out, log bytes.Buffer
	code := cli.Run(t.Context(), append([]string{"--home", home}, args...), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &log})
	if code != 0 {
		t.Fatalf("hashstream %s: exit code %d: %s", strings.Join(args, " "), code, log.String())
	}
	return strings.TrimSpace(out.String())
}

// add adds a file or directory to the node and returns its root.
func (n *running) add(t *testing.T, path string, flags ...string) string {
	t.Helper()
	return hashstream(t, n.home, append([]string{"add", "--quiet", path}, flags...)...)
}

// get returns the body of a 200.
func (n *running) get(t *testing.T, path string) []byte {
	t.Helper()
	res, err := http.Get(n.url + path)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, error %v: %.200s", path, res.StatusCode, err, body)
	}
	return body
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
