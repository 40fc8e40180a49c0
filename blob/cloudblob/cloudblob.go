// Package cloudblob stores objects in buckets: Amazon S3 and what speaks its protocol,
// Google Cloud Storage, and Azure Blob Storage, by way of gocloud.dev/blob.
//
// [Open] takes a URL. What follows the bucket is a prefix of all keys.
//
//	s3://bucket/prefix?region=eu-central-1
//	s3://bucket?region=us-east-1&endpoint=http://127.0.0.1:9000&use_path_style=true
//	gs://bucket/prefix
//	azblob://container/prefix?account=name
//
// The parameters of s3 are region, endpoint, use_path_style, profile, anonymous (true:
// requests are not signed) and request_checksum_calculation (when_supported or
// when_required; the default is when_required if there is an endpoint, because many
// servers do not know the checksums of Amazon). Those of gs are endpoint and
// anonymous, those of azblob account, endpoint (the URL of the service) and anonymous.
//
// A URL carries no credentials. They are what the kit of the provider finds: its
// variables, profiles and metadata service; or Go values in [Options].
//
// S3 is tested against versitygw, gs against fake-gcs-server; azblob was tested against
// Azurite, which the project's scripts do not start. None was tested against the provider.
//
// # Requests
//
// A Get is one request, because the answer to a range describes the whole object. Two
// are needed only at the very end of an object, where no range can be satisfied. Requests
// that may succeed later are repeated after a random and growing pause: after a broken
// connection, silence, a status of 429 or 500 to 504. A body that breaks off is resumed
// where it broke, on the condition that the object is still the same. All attempts
// are bounded by [Options.Attempts]; progress renews them.
//
// # Keys
//
// What this package writes has keys as package blob wants them. Objects of others whose
// keys are not well formed are left out of listings and told to [Trace.Skipped].
// Zero-sized objects whose key ends with a slash stand for directories, and are left
// out silently.
//
// # Errors
//
// As package blob says. A refusal (401, 403) matches [io/fs.ErrPermission]; silence
// longer than [Options.Stall] matches [os.ErrDeadlineExceeded]; a body that ends early
// in all attempts matches [io.ErrUnexpectedEOF]. An answer with another range than the
// one that was asked for is an error. No error contains a query or a credential.
//
// A Store is safe for concurrent use.
package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	gcblob "gocloud.dev/blob"
	"google.golang.org/api/googleapi"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

const (
	defaultAttempts    = 5
	defaultBackoff     = 200 * time.Millisecond
	defaultStall       = 30 * time.Second
	defaultPartSize    = 16 << 20
	defaultConcurrency = 4
	maxPause           = 20 * time.Second // between two attempts
	pageSize           = 1000             // entries of a listing
	contentType        = "application/octet-stream"
)

// Trace is told what a [Store] does. Each hook may be nil, and is called by several
// goroutines.
type Trace struct {
	// Request is called when the answer to an HTTP request is over: its body read to
	// the end or closed. The context has the values of the caller's.
	Request func(ctx context.Context, r Request)
	// Skipped is called for each object whose key is not well formed, with its
	// complete name, when a listing leaves it out.
	Skipped func(ctx context.Context, name string)
}

// Request is one HTTP request that was sent.
type Request = exchange.Request

// Options tunes a [Store].
type Options struct {
	// Credentials are used in place of what the provider's kit finds. Default: none.
	// They do not apply to gs.
	Credentials *Credentials
	// Transport sends the requests. Default: one that keeps connections open.
	Transport http.RoundTripper
	// Attempts is how often a request is sent before its failure is final. Default 5.
	Attempts int
	// Backoff is the longest pause before the first repetition. The bound doubles
	// with each, and the pause is random below it. Default 200 ms.
	Backoff time.Duration
	// Stall is how long the store may be silent before and within an answer.
	// Default 30 s.
	Stall time.Duration
	// PartSize is the size in bytes of the parts of an upload; objects below 16 MiB have
	// none. At most 10,000 are possible; parts of drafts grow where that is too few.
	// Default 16 MiB.
	PartSize int64
	// Concurrency is how many parts of one upload are under way at once. An upload
	// holds Concurrency+2 parts in memory. Default 4.
	Concurrency int
	// TempDir is where drafts are written. Default: the system's.
	TempDir string
	// Trace is told what happens. Default: nothing.
	Trace *Trace
}

// Credentials are a key for s3, or the account and its key for azblob.
type Credentials struct {
	ID      string // access key id, or name of the account
	Secret  string
	Session string // token of a temporary key, for s3
}

// Store keeps objects in a bucket. It implements [blob.Store], [blob.Conditional] and
// [blob.Drafter].
type Store struct {
	options  Options
	name     string // scheme://bucket/, for errors
	prefix   string // empty, or ends with a slash
	bucket   *gcblob.Bucket
	provider provider
}

var (
	_ blob.Store       = (*Store)(nil)
	_ blob.Conditional = (*Store)(nil)
	_ blob.Drafter     = (*Store)(nil)
)

// provider is what differs between the services. Names are complete: prefix and key.
type provider struct {
	bucket *gcblob.Bucket
	// condition prepares a read of name by what gocloud hands to BeforeRead. Identity
	// may be empty.
	condition func(as func(any) bool, name, identity string) error
	// identity finds the identity of an object in the header of an answer.
	identity func(h http.Header) string
	stat     func(ctx context.Context, name string) (blob.Info, error)
	remove   func(ctx context.Context, name string) error
	// write prepares an upload of name by what gocloud hands to BeforeWrite. Keep: only
	// if there is no such object.
	write func(as func(any) bool, name string, keep bool) error
	list  func(ctx context.Context, prefix, delimiter, token string) (page, error)
	// aborts says that an upload whose reader fails is taken back by the kit, which needs
	// a context for that. Elsewhere the end of the context takes it back.
	aborts bool
}

// page is a part of a listing, in no order.
type page struct {
	entries []Entry // with complete names as keys
	next    string  // token of the next page, empty for the last
}

// Open opens the bucket of a URL. It sends no request to the bucket: whether that
// exists shows at the first use.
func Open(ctx context.Context, rawURL string, o *Options) (*Store, error) {
	t, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("cloudblob: open: %w", err)
	}
	s := &Store{name: t.scheme + "://" + t.bucket + "/", prefix: t.prefix}
	if o != nil {
		s.options = *o
	}
	s.options.defaults()
	switch t.scheme {
	case "s3":
		s.provider, err = openS3(ctx, t, &s.options)
	case "gs":
		s.provider, err = openGS(ctx, t, &s.options)
	case "azblob":
		s.provider, err = openAzure(t, &s.options)
	}
	if err == nil {
		err = t.query.rest()
	}
	if err != nil {
		return nil, fmt.Errorf("cloudblob: open %s: %s", s.name, exchange.Scrub(err.Error()))
	}
	s.bucket = s.provider.bucket
	return s, nil
}

func (o *Options) defaults() {
	if o.Attempts <= 0 {
		o.Attempts = defaultAttempts
	}
	if o.Backoff <= 0 {
		o.Backoff = defaultBackoff
	}
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	if o.PartSize <= 0 {
		o.PartSize = defaultPartSize
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	if o.Transport == nil {
		o.Transport = exchange.NewTransport()
	}
	o.Transport = &exchange.Transport{Base: o.Transport, Stall: o.Stall, Trace: o.Trace.Request}
}

// Close frees connections. Objects that are open may break.
func (s *Store) Close() error {
	if c, ok := s.options.Transport.(*exchange.Transport).Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	return s.bucket.Close()
}

// target is what a URL says.
type target struct {
	scheme, bucket, prefix string
	query                  parameters
}

func parse(rawURL string) (target, error) {
	u, err := url.Parse(rawURL)
	if err != nil { // what url.Parse says may quote a password
		return target{}, fmt.Errorf("malformed URL: %w", fs.ErrInvalid)
	}
	if u.User != nil {
		return target{}, errors.New("a URL must not carry credentials: use those of the environment or a profile")
	}
	t := target{scheme: u.Scheme, bucket: u.Host, prefix: strings.Trim(u.Path, "/"), query: parameters(u.Query())}
	switch {
	case t.scheme != "s3" && t.scheme != "gs" && t.scheme != "azblob":
		return t, fmt.Errorf("scheme %q is none of s3, gs, azblob: %w", u.Scheme, fs.ErrInvalid)
	case t.bucket == "" || u.Fragment != "":
		return t, fmt.Errorf("want %s://bucket/prefix?parameters: %w", u.Scheme, fs.ErrInvalid)
	case t.prefix != "":
		if err := blob.CheckKey(t.prefix); err != nil {
			return t, err
		}
		t.prefix += "/"
	}
	return t, nil
}

// parameters are those of a URL that nobody took yet.
type parameters url.Values

func (p parameters) take(name string) string {
	v := url.Values(p).Get(name)
	delete(p, name)
	return v
}

func (p parameters) takeBool(name string) (bool, error) {
	switch p.take(name) {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, fmt.Errorf("parameter %s is neither true nor false", name)
}

// takeEndpoint returns the URL of a server, empty if there is none.
func (p parameters) takeEndpoint() (string, error) {
	s := p.take("endpoint")
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "":
		return "", errors.New("parameter endpoint is no http or https URL")
	case u.User != nil || u.RawQuery != "":
		return "", errors.New("parameter endpoint must carry neither credentials nor a query")
	}
	return s, nil
}

// rest refuses what nobody knows; its value may be a secret.
func (p parameters) rest() error {
	for name := range p {
		return fmt.Errorf("unknown parameter %q", exchange.Scrub(name))
	}
	return nil
}

// pause is how long to wait before repetition i, from 0.
func (o *Options) pause(i int) time.Duration {
	return rand.N(min(o.Backoff<<min(i, 10), max(o.Backoff, maxPause))) + 1
}

// wait pauses before repetition i.
func (o *Options) wait(ctx context.Context, i int) error {
	select {
	case <-time.After(o.pause(i)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// check is what every call does first.
func check(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return blob.CheckKey(key)
}

// fail describes why a call failed.
func (s *Store) fail(verb, key string, c *exchange.Call, err error) error {
	status, code := answer(err)
	return fmt.Errorf("cloudblob: %s %s%s%s: %w", verb, s.name, s.prefix, key, c.Explain(status, code, err))
}

// answer finds the answer in an error of a kit, and what the provider calls it.
func answer(err error) (status int, code string) {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return e.StatusCode, e.ErrorCode
	}
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code, ""
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	if e, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok {
		status = e.HTTPStatusCode()
	}
	return status, code
}
