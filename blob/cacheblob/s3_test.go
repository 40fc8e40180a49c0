package cacheblob_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/cacheblob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/faultproxy"
	"github.com/hashstream/hashstream/internal/servertest"
)

// bucket opens a new bucket of the S3 server through a proxy.
func bucket(t *testing.T) (*cloudblob.Store, *faultproxy.Proxy) {
	t.Helper()
	u, err := url.Parse(servertest.URL(t, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := faultproxy.Start("http://" + u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	secret, _ := u.User.Password()
	endpoint, name := p.URL(), "t-"+strings.ToLower(rand.Text())
	client := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(u.User.Username(), secret, ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	s, err := cloudblob.Open(t.Context(), "s3://"+name+"?region=us-east-1&use_path_style=true&endpoint="+p.URL(), &cloudblob.Options{
		Credentials: &cloudblob.Credentials{ID: u.User.Username(), Secret: secret}, TempDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, p
}

func TestS3(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store {
		s, _ := bucket(t)
		return open(t, t.TempDir(), cacheblob.Options{PageSize: 4 * pageSize}).Wrap("s3", s, nil)
	})
}

// TestS3Requests: 40 pages are one request, and then none.
func TestS3Requests(t *testing.T) {
	s, p := bucket(t)
	c := open(t, t.TempDir(), cacheblob.Options{}).Wrap("s3", s, &cacheblob.WrapOptions{Immutable: true})
	b := random(40*pageSize, 13)
	put(t, s, "k", b)
	for _, want := range []int{1, 0} {
		p.Reset()
		check(t, c, "k", b, 0, int64(len(b)))
		if n := len(p.Requests()); n != want {
			t.Errorf("%d requests, want %d", n, want)
		}
	}
	// What is there needs no server, what is not does.
	put(t, s, "l", b)
	check(t, c, "l", b, 0, 10)
	p.Fail(faultproxy.Status(403, "AccessDenied"))
	check(t, c, "k", b, 0, int64(len(b)))
	o, err := c.Get(t.Context(), "l", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err == nil || !bytes.Equal(got, b[:pageSize]) || errors.Is(err, blob.ErrChanged) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
