package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/servertest"
)

// TestDiskCache serves packs of a real bucket from a node with a cache on disk: the second time
// without a request, and after a restart too.
func TestDiskCache(t *testing.T) {
	u, err := url.Parse(servertest.URL(t, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	t.Setenv("AWS_ACCESS_KEY_ID", u.User.Username())
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	bucket, endpoint := "cache-"+strings.ToLower(rand.Text()), "http://"+u.Host
	client := s3.New(s3.Options{Region: "us-east-1", UsePathStyle: true, BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(u.User.Username(), secret, "")})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		list, err := client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &bucket})
		if err == nil {
			for _, o := range list.Contents {
				client.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key})
			}
			client.DeleteBucket(context.Background(), &s3.DeleteBucketInput{Bucket: &bucket})
		}
	})
	adjust := func(c *config.Config) {
		c.Store.Packs = "s3://" + bucket + "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(endpoint)
		c.Cache.Disk = 64 << 20
	}
	n := start(t, adjust)
	data := bytes.Repeat([]byte("all the same to a cache "), 200_000)
	root := add(t, n.config, fstest.MapFS{"f": {Data: data}}, "f", ingest.Options{})
	const gets = `hashstream_bucket_requests_total{op="get",status="206"}`
	path := "/ipfs/" + root.String() + "?format=car"
	first := n.get(t, path)
	asked := n.metric(t, gets)
	second := n.get(t, path)
	if first.status != http.StatusOK || asked == 0 || !bytes.Equal(first.body, second.body) {
		t.Fatalf("status %d, %d bytes, %v requests", first.status, len(first.body), asked)
	}
	if again := n.metric(t, gets); again != asked {
		t.Errorf("%v requests for bytes that are on the disk", again-asked)
	}
	if page := do(t, n.http1, "GET", n.admin+"/metrics"); bytes.Contains(page.body, []byte(secret)) || strings.Contains(n.log.String(), secret) {
		t.Error("the secret is told")
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startIn(t, n.config)
	if third := n.get(t, path); !bytes.Equal(third.body, first.body) {
		t.Errorf("after a restart %d bytes, %v", len(third.body), third.err)
	}
	if again := n.metric(t, gets); again != 0 {
		t.Errorf("%v requests for bytes that are on the disk, after a restart", again)
	}
}
