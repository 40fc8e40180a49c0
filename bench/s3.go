package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hashstream/hashstream/blob/cloudblob"
)

const (
	bucketName   = "bench"
	bucketRegion = "us-east-1"
	// requestBytes and requestsMore bound the requests for one answer: one for as many
	// bytes, and some more.
	requestBytes = 4 * mib
	requestsMore = 4
)

// bucketCAR measures CARs of which the bytes lie in a server of objects on loopback: once in
// packs, once in a file that stays where it is. The peer is a plain GET of the same
// objects by the same client.
func bucketCAR(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	d, err := b.dataset(ctx, 256*kib)
	if err != nil {
		return err
	}
	s, err := openSite(ctx, b.work)
	if err != nil {
		return err
	}
	defer s.close()
	packed, err := s.packed(ctx, b, d)
	if err != nil {
		return err
	}
	placed, err := s.placed(ctx, b, d)
	if err != nil {
		return err
	}
	for _, c := range []*bucketCase{packed, placed} {
		err := b.inTurn(ctx, []string{sysHashstream, sysGet, sysCloud, sysRelay}, func(_ int, system string) error {
			return c.measure(ctx, b, d, system)
		})
		if err == nil {
			err = c.countRequests(ctx, b, d)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.row, err)
		}
	}
	return nil
}

// site is a bucket on a server of its own.
type site struct {
	*kit
	client *s3.Client
	store  *cloudblob.Store
	env    []string // with which a node finds the credentials
}

func openSite(ctx context.Context, dir string) (*site, error) {
	k, err := startKit(ctx, "s3", dir)
	if err != nil {
		return nil, err
	}
	s := &site{kit: k}
	u, err := url.Parse(k.url)
	if err != nil {
		s.close()
		return nil, errors.New("the server of objects has no good address")
	}
	id := u.User.Username()
	secret, _ := u.User.Password()
	s.client = s3.New(s3.Options{
		Region: bucketRegion, BaseEndpoint: aws.String("http://" + k.addr), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	})
	s.env = []string{"AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_EC2_METADATA_DISABLED=true"}
	if _, err = s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucketName)}); err == nil {
		s.store, err = cloudblob.Open(ctx, bucketURL(k.addr, ""), &cloudblob.Options{Credentials: &cloudblob.Credentials{ID: id, Secret: secret}})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *site) close() {
	if s.store != nil {
		s.store.Close()
	}
	s.kit.close()
}

// bucketURL is what a node is told of a prefix of the bucket.
func bucketURL(addr, prefix string) string {
	return "s3://" + bucketName + prefix + "?region=" + bucketRegion + "&use_path_style=true&endpoint=" + url.QueryEscape("http://"+addr)
}

// bucketCase is a home whose content lies in objects of a site.
type bucketCase struct {
	*site
	row  string
	home string
	// objects hold the content.
	objects []object
	// at returns what tells the node where its content is, of a server at addr.
	at func(addr string) string
}

type object struct {
	key, url string // the URL is signed
	size     int64
}

func (c *bucketCase) add(ctx context.Context, key string) error {
	info, err := c.store.Stat(ctx, key)
	if err != nil {
		return err
	}
	signed, err := s3.NewPresignClient(c.client).PresignGetObject(ctx,
		&s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key}, s3.WithPresignExpires(2*time.Hour))
	if err != nil {
		return err
	}
	c.objects = append(c.objects, object{key, signed.URL, info.Size})
	return nil
}

// packed adds the source of d to a home with its packs in the bucket.
func (s *site) packed(ctx context.Context, b *bench, d *dataset) (*bucketCase, error) {
	c := &bucketCase{site: s, row: "s3-car", at: func(addr string) string { return packsAre(bucketURL(addr, "/packs")) }}
	var err error
	if c.home, err = b.newHome(ctx, b.work); err != nil {
		return nil, err
	}
	f, err := b.runHashstreamAdd(ctx, c.home, d.source, d.leaf, c.environ(s.addr)...)
	if err == nil && f.stdout != d.root.String() {
		err = fmt.Errorf("says %q, want %s", f.stdout, d.root)
	}
	if err != nil {
		return nil, err
	}
	b.logf("    adding to the bucket took %s", f.wall.Round(time.Millisecond))
	for i, err := range s.store.List(ctx, "packs/") {
		if err != nil {
			return nil, err
		}
		if i.Size > mib { // the others are sidecars
			if err := c.add(ctx, i.Key); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// placed uploads the source of d and indexes it where it is.
func (s *site) placed(ctx context.Context, b *bench, d *dataset) (*bucketCase, error) {
	c := &bucketCase{site: s, row: "s3-place", at: func(addr string) string { return rootsAre(bucketURL(addr, "/data")) }}
	f, err := os.Open(d.source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const key = "data/source"
	if err := s.store.Put(ctx, key, f); err != nil {
		return nil, err
	}
	if err := c.add(ctx, key); err != nil {
		return nil, err
	}
	if c.home, err = b.newHome(ctx, b.work); err != nil {
		return nil, err
	}
	done, err := b.runHashstreamPlace(ctx, c.home, "s3://"+bucketName+"/"+key, d.leaf, c.environ(s.addr)...)
	if err == nil && done.stdout != d.root.String() {
		err = fmt.Errorf("says %q, want %s", done.stdout, d.root)
	}
	if err == nil {
		b.logf("    indexing in the bucket took %s", done.wall.Round(time.Millisecond))
	}
	return c, err
}

func (c *bucketCase) environ(addr string) []string { return append([]string{c.at(addr)}, c.env...) }

func (c *bucketCase) measure(ctx context.Context, b *bench, d *dataset, system string) error {
	if system != sysHashstream {
		server := c.server
		one := map[string]func(context.Context, *receiver) (int64, error){sysGet: c.get, sysCloud: c.getByKit}[system]
		if system == sysRelay {
			relay, err := c.startRelay(ctx, b)
			if err != nil {
				return err
			}
			defer relay.stop()
			server, one = relay.server, relay.get
		}
		r := &receiver{buf: make([]byte, mib), copies: b.copies}
		m, err := b.load(server, 0, func() (int64, error) { return one(ctx, r) })
		b.record(c.row, system, sample{m.mibPerSecond(), m.cpuPerGiB()})
		return err
	}
	first, warm, err := b.serveHome(ctx, d, c.home, c.environ(c.addr)...)
	if err != nil {
		return err
	}
	row := c.row + "-first"
	if c.row == "s3-car" {
		row = "s3-first"
	}
	b.record(row, system, sample{first.mibPerSecond(), first.cpuPerGiB()})
	b.record(c.row, system, sample{warm.mibPerSecond(), warm.cpuPerGiB()})
	return nil
}

// get asks the server of objects for each object, by the client that asks nodes for CARs.
func (c *bucketCase) get(ctx context.Context, r *receiver) (total int64, err error) {
	for _, o := range c.objects {
		if err := r.get(ctx, c.addr, strings.TrimPrefix(o.url, "http://"+c.addr), o.size); err != nil {
			return total, err
		}
		total += o.size
	}
	return total, nil
}

// getByKit reads each object as a node does, in this process.
func (c *bucketCase) getByKit(ctx context.Context, r *receiver) (total int64, err error) {
	for _, o := range c.objects {
		obj, err := c.store.Get(ctx, o.key, 0, -1)
		if err != nil {
			return total, err
		}
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{obj}, r.buf)
		obj.Close()
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

// countRequests asks a fresh node for the CAR once, with a proxy that counts between it
// and the server of objects. Nothing is timed.
func (c *bucketCase) countRequests(ctx context.Context, b *bench, d *dataset) error {
	p := newCounter(c.addr)
	defer p.Close()
	node, err := b.startHashstream(ctx, c.home, c.environ(p.Listener.Addr().String())...)
	if err != nil {
		return err
	}
	defer node.stop()
	before := p.requests.Load()
	if err := b.checkCAR(ctx, node, d); err != nil {
		return err
	}
	row := strings.TrimSuffix(c.row, "-car") + "-requests"
	b.record(row, sysHashstream, sample{Value: float64(p.requests.Load() - before)})
	b.record(row, sysBound, sample{Value: float64(d.carSize/requestBytes + requestsMore)})
	return nil
}

// counter is a proxy that counts requests.
type counter struct {
	*httptest.Server
	requests atomic.Int64
}

func newCounter(addr string) *counter {
	c := &counter{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
		r.Out.Host = r.In.Host // it is signed
	}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		forward.ServeHTTP(w, r)
	}))
	return c
}
