package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob/s3blob"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

// bucketS3 is a bucket by Amazon's kit. Where gocloud would escape a key it is told the
// key as it is: objects of others have any.
type bucketS3 struct {
	client *s3.Client
	name   string
	part   int64
}

func openS3(ctx context.Context, t target, o *Options) (provider, error) {
	client, checksums, err := dialS3(ctx, t.query, o)
	if err != nil {
		return provider{}, err
	}
	bucket, err := s3blob.OpenBucket(ctx, client, t.bucket, &s3blob.Options{RequestChecksumCalculation: checksums})
	if err != nil {
		return provider{}, err
	}
	b := &bucketS3{client, t.bucket, o.PartSize}
	return provider{bucket, b.condition, etag, b.stat, b.remove, b.write, b.list, true}, nil
}

func dialS3(ctx context.Context, q parameters, o *Options) (*s3.Client, aws.RequestChecksumCalculation, error) {
	load, err := loadS3(q, o)
	if err != nil {
		return nil, 0, err
	}
	endpoint, err := q.takeEndpoint()
	if err != nil {
		return nil, 0, err
	}
	pathStyle, err := q.takeBool("use_path_style")
	if err != nil {
		return nil, 0, err
	}
	if endpoint != "" {
		load = append([]func(*config.LoadOptions) error{
			config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		}, load...)
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, 0, err
	}
	return s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.HTTPClient = &http.Client{Transport: o.Transport, CheckRedirect: stay}
		so.UsePathStyle = pathStyle
		so.Retryer = o.retryerS3()
		so.Logger = logging.Nop{}
		// Whoever reads checks by digest, and the sum of a range would be of no use.
		so.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if endpoint != "" {
			so.BaseEndpoint = &endpoint
		}
	}), cfg.RequestChecksumCalculation, nil
}

// stay follows no redirect: what is signed is meant for one host.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func loadS3(q parameters, o *Options) (load []func(*config.LoadOptions) error, err error) {
	if region := q.take("region"); region != "" {
		load = append(load, config.WithRegion(region))
	}
	if profile := q.take("profile"); profile != "" {
		load = append(load, config.WithSharedConfigProfile(profile))
	}
	switch q.take("request_checksum_calculation") {
	case "":
	case "when_supported":
		load = append(load, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenSupported))
	case "when_required":
		load = append(load, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired))
	default:
		return nil, errors.New("parameter request_checksum_calculation is neither when_supported nor when_required")
	}
	anonymous, err := q.takeBool("anonymous")
	if err != nil {
		return nil, err
	}
	switch c := o.Credentials; {
	case anonymous:
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	case c != nil:
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.ID, c.Secret, c.Session)))
	}
	return load, nil
}

// retryerS3 is Amazon's judgement of what may be repeated, clock skew among it, with our
// number and pauses.
func (o *Options) retryerS3() aws.Retryer {
	return retry.NewStandard(func(so *retry.StandardOptions) {
		so.MaxAttempts = o.Attempts
		so.RateLimiter = ratelimit.None
		so.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return o.pause(max(0, attempt-1)), nil
		})
		so.Retryables = append([]retry.IsErrorRetryable{
			retry.NoRetryCanceledError{},
			retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}},
			retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				switch {
				case errors.Is(err, exchange.ErrSealed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
					return aws.FalseTernary
				case errors.As(err, new(exchange.Stalled)):
					return aws.TrueTernary
				}
				return aws.UnknownTernary
			}),
		}, so.Retryables...)
	})
}

func (b *bucketS3) condition(as func(any) bool, name, identity string) error {
	var in *s3.GetObjectInput
	if !as(&in) {
		return errors.New("no access to the request")
	}
	in.Key = &name
	if identity != "" {
		in.IfMatch = &identity
	}
	return nil
}

func etag(h http.Header) string { return h.Get("ETag") }

func (b *bucketS3) stat(ctx context.Context, name string) (blob.Info, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: &name})
	if err != nil {
		return blob.Info{}, err
	}
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return blob.Info{}, errors.New("the store does not tell the size of the object")
	}
	return describe(*out.ContentLength, aws.ToTime(out.LastModified), aws.ToString(out.ETag)), nil
}

// describe makes an info of what listings and headers have in common: whole seconds.
func describe(size int64, modified time.Time, identity string) blob.Info {
	if !modified.IsZero() {
		modified = modified.UTC().Truncate(time.Second)
	}
	return blob.Info{Size: size, ModTime: modified, Version: identity, Identity: identity}
}

func (b *bucketS3) remove(ctx context.Context, name string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &name})
	return err
}

func (b *bucketS3) write(as func(any) bool, name string, _ bool) error {
	var in *transfermanager.UploadObjectInput
	if !as(&in) {
		return errors.New("no access to the request")
	}
	in.Key = &name
	return nil
}

func (b *bucketS3) list(ctx context.Context, prefix, delimiter, token string) (page, error) {
	in := &s3.ListObjectsV2Input{Bucket: &b.name, EncodingType: types.EncodingTypeUrl}
	for field, value := range map[**string]string{&in.Prefix: prefix, &in.Delimiter: delimiter, &in.ContinuationToken: token} {
		if value != "" {
			*field = &value
		}
	}
	out, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return page{}, err
	}
	if out.Name == nil && out.IsTruncated == nil { // the kit takes any answer for an empty listing
		return page{}, errors.New("the answer is no listing")
	}
	p := page{next: aws.ToString(out.NextContinuationToken)}
	if !aws.ToBool(out.IsTruncated) {
		p.next = ""
	} else if p.next == "" || p.next == token {
		return page{}, errors.New("the store does not say how the listing goes on")
	}
	for _, o := range out.Contents {
		i := describe(aws.ToInt64(o.Size), aws.ToTime(o.LastModified), aws.ToString(o.ETag))
		if i.Key, err = decodeKey(out.EncodingType, o.Key); err != nil {
			return page{}, err
		}
		p.entries = append(p.entries, Entry{Info: i})
	}
	for _, c := range out.CommonPrefixes {
		key, err := decodeKey(out.EncodingType, c.Prefix)
		if err != nil {
			return page{}, err
		}
		p.entries = append(p.entries, Entry{Dir: true, Info: blob.Info{Key: key}})
	}
	return p, nil
}

// decodeKey reads a key in a listing. Asked for it, a server escapes keys, which may hold
// what XML cannot.
func decodeKey(encoding types.EncodingType, key *string) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return aws.ToString(key), nil
	}
	s, err := url.QueryUnescape(aws.ToString(key))
	if err != nil {
		return "", fmt.Errorf("the store escapes a key wrongly: %q", aws.ToString(key))
	}
	return s, nil
}
