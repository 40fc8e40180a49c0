package cloudblob

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

// bucketGS is a bucket by Google's kit. The identity of an object is its generation.
type bucketGS struct{ handle *storage.BucketHandle }

func openGS(ctx context.Context, t target, o *Options) (provider, error) {
	anonymous, err := t.query.takeBool("anonymous")
	if err != nil {
		return provider{}, err
	}
	endpoint, err := t.query.takeEndpoint()
	if err != nil {
		return provider{}, err
	}
	stored := storedBytes{o.Transport}
	client := gcp.NewAnonymousHTTPClient(stored)
	if !anonymous {
		c, err := gcp.DefaultCredentials(ctx)
		if err != nil {
			return provider{}, err
		}
		if client, err = gcp.NewHTTPClient(stored, gcp.CredentialsTokenSource(c)); err != nil {
			return provider{}, err
		}
	}
	client.CheckRedirect = stay
	clientOptions := []option.ClientOption{storage.WithJSONReads()}
	if endpoint != "" {
		clientOptions = append(clientOptions, option.WithEndpoint(endpoint+"/storage/v1/"))
	}
	bucket, err := gcsblob.OpenBucket(ctx, client, t.bucket, &gcsblob.Options{ClientOptions: clientOptions})
	if err != nil {
		return provider{}, err
	}
	var sc *storage.Client
	if !bucket.As(&sc) {
		return provider{}, errors.New("no access to the client")
	}
	sc.SetRetry(
		storage.WithPolicy(storage.RetryAlways), // uploads are whole or not at all
		storage.WithErrorFunc(func(err error) bool { return !errors.Is(err, exchange.ErrSealed) && storage.ShouldRetry(err) }),
		storage.WithMaxAttempts(o.Attempts),
		storage.WithBackoff(gax.Backoff{Initial: o.Backoff, Max: max(o.Backoff, maxPause), Multiplier: 2}),
	)
	b := &bucketGS{sc.Bucket(t.bucket)}
	return provider{bucket, b.condition, generation, b.stat, b.remove, b.write, b.list, false}, nil
}

// storedBytes asks for content as it is stored: who accepts gzip is not sent what was
// unpacked, which has no ranges. The kit refuses to set that.
type storedBytes struct{ http.RoundTripper }

func (s storedBytes) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet && req.URL.Query().Get("alt") == "media" {
		req = req.Clone(req.Context())
		req.Header.Set("Accept-Encoding", "gzip")
	}
	return s.RoundTripper.RoundTrip(req)
}

func generation(h http.Header) string { return h.Get("X-Goog-Generation") }

func (b *bucketGS) condition(as func(any) bool, name, identity string) error {
	var h **storage.ObjectHandle
	if !as(&h) {
		return errors.New("no access to the request")
	}
	*h = b.handle.Object(name)
	if identity == "" {
		return nil
	}
	g, err := strconv.ParseInt(identity, 10, 64)
	if err != nil || g <= 0 {
		return blob.ErrChanged // no identity of this store
	}
	*h = (*h).If(storage.Conditions{GenerationMatch: g})
	return nil
}

func (b *bucketGS) stat(ctx context.Context, name string) (blob.Info, error) {
	a, err := b.handle.Object(name).Attrs(ctx)
	if err != nil {
		return blob.Info{}, err
	}
	return describeGS(a), nil
}

func describeGS(a *storage.ObjectAttrs) blob.Info {
	return describe(a.Size, a.Updated, strconv.FormatInt(a.Generation, 10))
}

func (b *bucketGS) remove(ctx context.Context, name string) error {
	return b.handle.Object(name).Delete(ctx)
}

func (b *bucketGS) write(as func(any) bool, name string, keep bool) error {
	var h **storage.ObjectHandle
	if !as(&h) {
		return errors.New("no access to the request")
	}
	*h = b.handle.Object(name)
	if keep {
		*h = (*h).If(storage.Conditions{DoesNotExist: true})
	}
	return nil
}

func (b *bucketGS) list(ctx context.Context, prefix, delimiter, token string) (page, error) {
	q := &storage.Query{Prefix: prefix, Delimiter: delimiter}
	if err := q.SetAttrSelection([]string{"Name", "Size", "Updated", "Generation"}); err != nil {
		return page{}, err
	}
	var all []*storage.ObjectAttrs
	next, err := iterator.NewPager(b.handle.Objects(ctx, q), pageSize, token).NextPage(&all)
	if err != nil {
		return page{}, err
	}
	p := page{next: next}
	for _, a := range all {
		if a.Prefix != "" {
			p.entries = append(p.entries, Entry{Dir: true, Info: blob.Info{Key: a.Prefix}})
			continue
		}
		i := describeGS(a)
		i.Key = a.Name
		p.entries = append(p.entries, Entry{Info: i})
	}
	return p, nil
}
