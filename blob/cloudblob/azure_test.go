package cloudblob_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/faultproxy"
	"github.com/hashstream/hashstream/internal/servertest"
)

// azure is a server that speaks the protocol of Azure, Azurite for instance: its address is
// http://ACCOUNT:KEY@127.0.0.1:PORT, the key escaped. No script here starts one, because
// Azurite needs Node.js.
func azure(t *testing.T) (endpoint string, key cloudblob.Credentials) {
	t.Helper()
	u, err := url.Parse(servertest.URL(t, "azure"))
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	return "http://" + u.Host, cloudblob.Credentials{ID: u.User.Username(), Secret: secret}
}

func azureContainer(t *testing.T, endpoint string, key cloudblob.Credentials) string {
	t.Helper()
	name := "t-" + strings.ToLower(rand.Text())
	cred, err := container.NewSharedKeyCredential(key.ID, key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(endpoint+"/"+key.ID+"/"+name, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func openAzure(t *testing.T, endpoint, name string, key cloudblob.Credentials, o cloudblob.Options) *cloudblob.Store {
	t.Helper()
	o.Credentials, o.Backoff = &key, time.Millisecond
	s, err := cloudblob.Open(t.Context(), "azblob://"+name+"/pre?endpoint="+endpoint+"/"+key.ID, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAzure(t *testing.T) {
	endpoint, key := azure(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		return openAzure(t, endpoint, azureContainer(t, endpoint, key), key, cloudblob.Options{TempDir: t.TempDir()})
	})
}

func TestAzureFaults(t *testing.T) {
	endpoint, key := azure(t)
	p, err := faultproxy.Start(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	name := azureContainer(t, endpoint, key)
	direct := openAzure(t, endpoint, name, key, cloudblob.Options{})
	s := openAzure(t, p.URL(), name, key, cloudblob.Options{Attempts: 4, Stall: 300 * time.Millisecond})
	b := random(1 << 20)
	for what, c := range map[string]struct {
		faults   []faultproxy.Fault
		err      error
		requests int
	}{
		"none":         {nil, nil, 1},
		"403":          {[]faultproxy.Fault{faultproxy.Status(403, "")}, fs.ErrPermission, 1},
		"404":          {[]faultproxy.Fault{faultproxy.Status(404, "")}, fs.ErrNotExist, 1},
		"503 twice":    {[]faultproxy.Fault{faultproxy.Status(503, "").Times(2)}, nil, 3},
		"503":          {[]faultproxy.Fault{faultproxy.Status(503, "")}, errAny, 4},
		"cut":          {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1)}, nil, 2},
		"cut for ever": {[]faultproxy.Fault{faultproxy.Cut(10)}, io.ErrUnexpectedEOF, 4},
		"stall":        {[]faultproxy.Fault{faultproxy.Stall(1000).Times(1)}, nil, 2},
		"silence":      {[]faultproxy.Fault{faultproxy.Silence().Times(1)}, nil, 2},
		"wrong range":  {[]faultproxy.Fault{faultproxy.Header("Content-Range", "bytes 0-524287/1048576")}, errAny, 4},
		"replaced":     {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1), faultproxy.Do(func() { put(t, direct, "k", random(1<<20)) }).Times(1)}, blob.ErrChanged, 2},
	} {
		t.Run(what, func(t *testing.T) {
			put(t, direct, "k", b)
			p.Reset()
			p.Fail(c.faults...)
			var got []byte
			o, err := s.Get(t.Context(), "k", 100, 512<<10)
			if err == nil {
				defer o.Close()
				got, err = io.ReadAll(o)
			}
			if c.err == nil && (err != nil || len(got) != 512<<10) || c.err == errAny && err == nil || c.err != errAny && !errors.Is(err, c.err) {
				t.Errorf("%d bytes, %v, want %v", len(got), err, c.err)
			}
			if !bytes.HasPrefix(b[100:], got) {
				t.Errorf("wrong bytes among %d", len(got))
			}
			if n := len(p.Requests()); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			if err != nil && (strings.Contains(err.Error(), key.Secret) || strings.ContainsAny(err.Error(), "?\n")) {
				t.Errorf("the error is not clean: %v", err)
			}
		})
	}
}
