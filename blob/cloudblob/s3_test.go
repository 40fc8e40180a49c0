package cloudblob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/servertest"
)

// server is an S3 server, or what stands before it.
type server struct {
	endpoint string
	key      cloudblob.Credentials
}

func s3Server(t testing.TB) server {
	t.Helper()
	u, err := url.Parse(servertest.URL(t, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	s := server{"http://" + u.Host, cloudblob.Credentials{ID: u.User.Username(), Secret: secret}}
	return s
}

func (s server) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.key.ID, s.key.Secret, ""),
	})
}

// bucket creates a bucket, which is emptied at the end.
func (s server) bucket(t testing.TB) string {
	t.Helper()
	name := "t-" + string(bytes.ToLower([]byte(rand.Text())))
	if _, err := s.client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return name
}

// put stores an object under any name.
func (s server) put(ctx context.Context, client *s3.Client, bucket, name, content string) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &name, Body: strings.NewReader(content)})
	return err
}

// open opens a prefix of a bucket with quick repetitions.
func (s server) open(t testing.TB, bucket, prefix string, o cloudblob.Options) *cloudblob.Store {
	t.Helper()
	o.Credentials = &s.key
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	q := url.Values{"region": {"us-east-1"}, "endpoint": {s.endpoint}, "use_path_style": {"true"}}
	st, err := cloudblob.Open(t.Context(), "s3://"+bucket+"/"+prefix+"?"+q.Encode(), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func TestS3(t *testing.T) {
	s := s3Server(t)
	for name, prefix := range map[string]string{"Bucket": "", "Prefix": "some/pre fix"} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store {
				return s.open(t, s.bucket(t), prefix, cloudblob.Options{TempDir: t.TempDir()})
			})
		})
	}
}

func put(t testing.TB, s blob.Putter, key string, b []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, s blob.Getter, key string, off, n int64) []byte {
	t.Helper()
	o, err := s.Get(t.Context(), key, off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
