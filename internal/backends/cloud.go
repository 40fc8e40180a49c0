package backends

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

func cloudOptions(o Options) *cloudblob.Options {
	return &cloudblob.Options{Trace: o.Cloud}
}

func openCloud(ctx context.Context, where string, o Options) (blob.Getter, io.Closer, error) {
	s, err := cloudblob.Open(ctx, where, cloudOptions(o))
	if err != nil {
		return nil, nil, err
	}
	return s, s, nil
}

func openPostgres(ctx context.Context, where string, _ Options) (kv.Store, io.Closer, error) {
	s, err := pgkv.Open(ctx, where, nil)
	if err != nil {
		return nil, nil, err
	}
	return s, s, nil
}

// resolveURL takes a URL as it is.
func resolveURL(_ string, u *url.URL) (place, error) {
	if u.Host == "" {
		return place{}, errors.New("the bucket or host is missing")
	}
	return place{u.String(), config.Redact(u.String())}, nil
}

// InBucket reports whether the store at rawURL is a bucket.
func InBucket(rawURL string) bool {
	u, err := url.Parse(rawURL)
	return err == nil && slices.Contains([]string{"s3", "js+s3", "gs", "azblob"}, u.Scheme)
}

// Shared reports whether several nodes can use the store of keys at rawURL.
func Shared(rawURL string) bool {
	u, err := url.Parse(rawURL)
	return err == nil && u.Scheme == "postgres"
}

// UsesBuckets reports whether c keeps or leaves content in buckets.
func UsesBuckets(c config.Config) bool {
	return InBucket(c.Store.Packs) || slices.ContainsFunc(c.Sources.Roots, InBucket)
}
