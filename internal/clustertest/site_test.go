package clustertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/faultproxy"
	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/pipeline"
	"github.com/hashstream/hashstream/queue/memqueue"
	"github.com/hashstream/hashstream/streamer"
	"github.com/hashstream/hashstream/unixfs"
)

// site is an index and packs in memory over sources, which are real.
type site struct {
	keys     kv.Store
	packs    *memblob.Store
	sources  *backends.Sources
	indexer  *origin.Indexer
	streamer *streamer.Streamer
	profile  unixfs.Profile
}

func newSite(t *testing.T, roots ...string) *site {
	t.Helper()
	return newSiteOn(t, memkv.New(), roots...)
}

func newSiteOn(t *testing.T, keys kv.Store, roots ...string) *site {
	t.Helper()
	s := &site{keys: keys, packs: memblob.New(), profile: small(t)}
	var err error
	s.sources, err = backends.NewSources(roots, nil)
	must(t, err)
	t.Cleanup(func() { must(t, s.sources.Close()) })
	p := pipeline.New(s.keys, memqueue.New(nil), &pipeline.Options{Delay: time.Millisecond, Attempts: 2})
	stores := origin.Stores{
		KV: s.keys, Index: index.New(s.keys, nil), RemovePack: s.removePack,
		Destination: func(index.Level) (ingest.Destination, error) { return s.destination(), nil },
	}
	s.indexer = origin.New(stores, s.sources.Open, p, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Work(ctx, s.indexer.Work) }()
	t.Cleanup(func() { cancel(); <-done })
	s.streamer = streamer.New(index.New(s.keys, nil), s.packs, &streamer.Options{Files: s.sources})
	return s
}

func (s *site) removePack(ctx context.Context, name string) error {
	d, err := digest.Parse(name)
	if err != nil {
		return err
	}
	return errors.Join(index.RemoveLocation(ctx, s.keys, index.Location{Pack: d}), s.packs.Delete(ctx, pack.Key(d)))
}

func (s *site) destination() ingest.Destination {
	return ingest.Destination{
		Packs: s.packs, Blocks: index.NewBlocks(s.keys),
		Record: func() ingest.Recorder { return index.NewBuilder(s.keys, index.LevelAll) },
	}
}

func (s *site) source(url string) origin.Source {
	return origin.Source{URL: url, Profile: s.profile, Level: index.LevelAll}
}

func (s *site) tryScan(ctx context.Context, url string) (origin.Scanned, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return s.indexer.Scan(ctx, s.source(url), nil)
}

func (s *site) scan(t *testing.T, url string) origin.Scanned {
	t.Helper()
	got, err := s.tryScan(t.Context(), url)
	must(t, err)
	return got
}

// car returns the CAR of a root, or what of it there is and the error.
func (s *site) car(ctx context.Context, root cid.Cid) ([]byte, error) {
	body, err := s.streamer.Open(ctx, block.Selection{Root: root, Scope: block.ScopeAll})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n, err := body.Send(ctx, &b)
	if size, exact := body.Size(); err == nil && exact && n != size {
		err = fmt.Errorf("sent %d bytes, promised %d", n, size)
	}
	return b.Bytes(), err
}

// gone expects that nothing of a root can be had, not even wrong bytes.
func (s *site) gone(t *testing.T, what string, root cid.Cid) {
	t.Helper()
	if b, err := s.car(t.Context(), root); !errors.Is(err, fs.ErrNotExist) || len(b) > 0 {
		t.Errorf("%s: %d bytes, %v", what, len(b), err)
	}
}

// added is what a normal add of a directory gives: its root and its CAR.
func added(t *testing.T, profile unixfs.Profile, dir string) (cid.Cid, []byte) {
	t.Helper()
	s := newSite(t)
	name := "."
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		dir, name = filepath.Dir(dir), filepath.Base(dir)
	}
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	res, err := ingest.Add(t.Context(), root.FS(), name, s.destination(), &ingest.Options{Profile: profile})
	must(t, err)
	b, err := s.car(t.Context(), res.Root)
	must(t, err)
	return res.Root, b
}

// small is a profile whose DAGs are deep at sizes that tests like.
func small(t *testing.T) unixfs.Profile {
	t.Helper()
	p, err := unixfs.ParseProfile(unixfs.V1)
	must(t, err)
	p.ChunkSize, p.Width = 1000, 4
	return p
}

// bucket is a bucket of the shared S3 server, behind a proxy.
type bucket struct {
	name   string
	client *s3.Client // goes to the server itself
	proxy  *faultproxy.Proxy
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	u, err := url.Parse(servertest.URL(t, "s3"))
	must(t, err)
	secret, _ := u.User.Password()
	endpoint := "http://" + u.Host
	b := &bucket{name: "t-" + strings.ToLower(rand.Text())}
	b.client = s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(u.User.Username(), secret, ""),
	})
	_, err = b.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b.name})
	must(t, err)
	b.proxy, err = faultproxy.Start(endpoint)
	must(t, err)
	t.Cleanup(func() { b.proxy.Close() })
	return b
}

// root is the bucket as the configuration names it, by way of the proxy.
func (b *bucket) root(prefix string) string {
	q := url.Values{"region": {"us-east-1"}, "endpoint": {b.proxy.URL()}, "use_path_style": {"true"}}
	return b.url(prefix) + "?" + q.Encode()
}

// url is a place in the bucket as commands name it.
func (b *bucket) url(prefix string) string {
	return strings.TrimSuffix("s3://"+b.name+"/"+prefix, "/")
}

func (b *bucket) put(t *testing.T, key, content string) {
	t.Helper()
	_, err := b.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: strings.NewReader(content)})
	must(t, err)
}

func (b *bucket) remove(t *testing.T, key string) {
	t.Helper()
	_, err := b.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &b.name, Key: &key})
	must(t, err)
}

// requests counts what was asked of the bucket since the last reset of the proxy.
func (b *bucket) requests() map[string]int {
	n := map[string]int{}
	for _, r := range b.proxy.Requests() {
		kind := r.Method
		if r.Method == "GET" && strings.Contains(r.URL, "list-type=2") {
			kind = "list"
		}
		n[kind]++
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

// newStreamer is the site with a streamer that has verified nothing yet.
func newStreamer(s *site) *site {
	fresh := *s
	fresh.streamer = streamer.New(index.New(s.keys, nil), s.packs, &streamer.Options{Files: s.sources})
	return &fresh
}
