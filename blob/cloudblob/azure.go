package cloudblob

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	azb "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	gcblob "gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"

	"github.com/hashstream/hashstream/blob"
)

// bucketAzure is a container by Microsoft's kit. gocloud escapes some characters of keys
// here; objects of others that have them are left out of listings.
type bucketAzure struct {
	client *container.Client
	bucket *gcblob.Bucket
}

func openAzure(t target, o *Options) (provider, error) {
	client, err := dialAzure(t, o)
	if err != nil {
		return provider{}, err
	}
	bucket, err := azureblob.OpenBucket(context.Background(), client, nil)
	if err != nil {
		return provider{}, err
	}
	b := &bucketAzure{client, bucket}
	return provider{bucket, b.condition, etag, b.stat, b.remove, b.write, b.list, false}, nil
}

func dialAzure(t target, o *Options) (*container.Client, error) {
	anonymous, err := t.query.takeBool("anonymous")
	if err != nil {
		return nil, err
	}
	account := t.query.take("account")
	if o.Credentials != nil && account == "" {
		account = o.Credentials.ID
	}
	service, err := t.query.takeEndpoint()
	if err != nil {
		return nil, err
	}
	if service == "" {
		if account == "" || strings.Trim(account, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return nil, errors.New("parameter account is the name of the storage account: small letters and digits")
		}
		service = "https://" + account + ".blob.core.windows.net"
	}
	at := strings.TrimSuffix(service, "/") + "/" + t.bucket
	co := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: o.Transport, CheckRedirect: stay},
		Retry: policy.RetryOptions{
			// 0 would be the kit's default.
			MaxRetries: int32(cmp.Or(min(o.Attempts-1, 1000), -1)), RetryDelay: o.Backoff, MaxRetryDelay: max(o.Backoff, maxPause),
		},
	}}
	switch {
	case anonymous:
		return container.NewClientWithNoCredential(at, co)
	case o.Credentials != nil:
		key, err := container.NewSharedKeyCredential(account, o.Credentials.Secret)
		if err != nil {
			return nil, errors.New("the key of the account is malformed: want base64")
		}
		return container.NewClientWithSharedKeyCredential(at, key, co)
	}
	token, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(at, token, co)
}

func (b *bucketAzure) condition(as func(any) bool, _, identity string) error {
	var o *azb.DownloadStreamOptions
	if !as(&o) {
		return errors.New("no access to the request")
	}
	if identity != "" {
		tag := azcore.ETag(identity)
		o.AccessConditions = &azb.AccessConditions{ModifiedAccessConditions: &azb.ModifiedAccessConditions{IfMatch: &tag}}
	}
	return nil
}

func (b *bucketAzure) stat(ctx context.Context, name string) (blob.Info, error) {
	a, err := b.bucket.Attributes(ctx, name)
	if err != nil {
		return blob.Info{}, err
	}
	return describe(a.Size, a.ModTime, a.ETag), nil
}

func (b *bucketAzure) remove(ctx context.Context, name string) error {
	return b.bucket.Delete(ctx, name)
}

func (b *bucketAzure) write(func(any) bool, string, bool) error { return nil }

func (b *bucketAzure) list(ctx context.Context, prefix, delimiter, token string) (page, error) {
	at := gcblob.FirstPageToken
	if token != "" {
		at = []byte(token)
	}
	objects, next, err := b.bucket.ListPage(ctx, at, pageSize, &gcblob.ListOptions{Prefix: prefix, Delimiter: delimiter})
	if err != nil {
		return page{}, err
	}
	p := page{next: string(next)}
	for _, o := range objects {
		if o.IsDir {
			p.entries = append(p.entries, Entry{Dir: true, Info: blob.Info{Key: o.Key}})
			continue
		}
		i := describe(o.Size, o.ModTime, "")
		var item container.BlobItem
		if o.As(&item) && item.Properties != nil && item.Properties.ETag != nil {
			i.Version = strconv.Quote(strings.Trim(string(*item.Properties.ETag), `"`)) // listings show it bare
			i.Identity = i.Version
		}
		i.Key = o.Key
		p.entries = append(p.entries, Entry{Info: i})
	}
	return p, nil
}
