package node_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
)

// TestServe asks a node for the same content in every way and over every protocol.
func TestServe(t *testing.T) {
	n := start(t, nil)
	root := addFile(t, n.config, 1, 300_000, ingest.Options{}).String() // through the node that runs
	for proto, c := range map[string]*http.Client{"HTTP/1.1": n.http1, "HTTP/2.0": n.http2} {
		whole := do(t, c, http.MethodGet, n.url+"/ipfs/"+root+"?format=car")
		blocks, err := checkCAR(whole.body)
		if whole.status != 200 || whole.proto != proto || err != nil || blocks != 6 || whole.length != int64(len(whole.body)) {
			t.Errorf("%s: CAR: status %d over %s, %d blocks, %v, %d of %d bytes", proto, whole.status, whole.proto, blocks, err, len(whole.body), whole.length)
		}
		head := do(t, c, http.MethodHead, n.url+"/ipfs/"+root+"?format=car")
		if head.status != 200 || head.header.Get("Content-Length") != strconv.Itoa(len(whole.body)) || head.header.Get("Etag") != whole.header.Get("Etag") {
			t.Errorf("%s: HEAD: status %d, %v", proto, head.status, head.header)
		}
		if again := do(t, c, http.MethodGet, n.url+"/ipfs/"+root+"?format=car", "If-None-Match", whole.header.Get("Etag")); again.status != 304 || len(again.body) > 0 {
			t.Errorf("%s: If-None-Match: status %d, %d bytes", proto, again.status, len(again.body))
		}
		raw := do(t, c, http.MethodGet, n.url+"/ipfs/"+root+"?format=raw")
		part := do(t, c, http.MethodGet, n.url+"/ipfs/"+root+"?format=raw", "Range", "bytes=10-19")
		if raw.status != 200 || part.status != 206 || !bytes.Equal(part.body, raw.body[10:20]) {
			t.Errorf("%s: raw: status %d, range: status %d, %q", proto, raw.status, part.status, part.body)
		}
		if web := do(t, c, http.MethodGet, n.url+"/ipfs/"+root); web.status != 406 {
			t.Errorf("%s: without a format: status %d", proto, web.status)
		}
	}
}

func TestBodyOnGet(t *testing.T) {
	n := start(t, nil)
	req, err := http.NewRequest(http.MethodGet, n.url+"/ipfs/bafkqaaa?format=raw", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	res, err := n.http1.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("status %d, want 400", res.StatusCode)
	}
}

// certify writes a new self-signed certificate for 127.0.0.1.
func certify(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestTLS serves HTTP/2 with a certificate, and with the next one without a restart.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	n := start(t, func(c *config.Config) { c.Gateway.TLSCert, c.Gateway.TLSKey = certify(t, dir, 1) })
	if !strings.HasPrefix(n.url, "https://") {
		t.Fatalf("the gateway is %s", n.url)
	}
	root := addFile(t, n.config, 1, 300_000, ingest.Options{}).String()
	serial := func() int64 {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get(n.url + "/ipfs/" + root + "?format=car")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if blocks, checked := checkCAR(body); res.Proto != "HTTP/2.0" || err != nil || checked != nil || blocks != 6 {
			t.Fatalf("%s, %d blocks, %v, %v", res.Proto, blocks, err, checked)
		}
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d", got)
	}
	cert, key := certify(t, dir, 2)
	later := time.Now().Add(time.Minute)
	for _, name := range []string{cert, key} {
		if err := os.Chtimes(name, later, later); err != nil {
			t.Fatal(err)
		}
	}
	if got := serial(); got != 2 {
		t.Errorf("after the renewal: certificate %d", got)
	}
	if err := os.WriteFile(cert, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("with a broken file: certificate %d", got)
	}
}

func TestTLSRefusesABrokenCertificate(t *testing.T) {
	c := config.Default(t.TempDir())
	c.Gateway.Listen, c.Admin.Listen = "127.0.0.1:0", ""
	c.Gateway.TLSCert, c.Gateway.TLSKey = certify(t, t.TempDir(), 1)
	if err := os.WriteFile(c.Gateway.TLSKey, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := serveOnce(t, c); err == nil {
		t.Error("a node serves with a broken key")
	}
}
