// Package sqsqueue is a queue on Amazon SQS or a server that speaks as it does.
//
// It uses the client of AWS itself: gocloud.dev/pubsub can neither extend the term
// of a message nor delay one that comes again. A standard queue is expected, as it
// scales; a FIFO queue would promise an order that nobody needs.
//
// SQS takes text alone, so a body is sent as a dot (as no message may be empty) and
// its base64. What others sent in another form is delivered as it is.
//
// # URL
//
//	sqs://sqs.eu-west-1.amazonaws.com/ACCOUNT/QUEUE?region=eu-west-1&term=30s
//	sqs://ID:SECRET@127.0.0.1:4100/ACCOUNT/QUEUE?region=us-east-1&scheme=http&create=true
//
// It is the URL of the queue as AWS shows it, with another scheme. Without ID and
// SECRET the credentials come from where those of every client of AWS come from:
// environment, files, the machine's role. The region is that in the name of the
// server by default. The term (30 s by default) is in whole seconds, up to 12 hours.
//
// # Errors
//
// As package queue says; a queue that does not exist matches [io/fs.ErrNotExist], too.
//
// A Queue is safe for concurrent use. It needs no closing.
package sqsqueue

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hashstream/hashstream/queue"
)

const (
	defaultTerm     = 30 * time.Second
	defaultPatience = time.Minute

	maxTerm    = 12 * time.Hour         // what SQS takes
	pollWait   = 20 * time.Second       // the longest that SQS keeps a request
	tryTimeout = 10 * time.Second       // for the answer to one that it does not keep
	retryDelay = 500 * time.Millisecond // between tries
)

// Options of a queue.
type Options struct {
	// Patience is how long a server may be away before an operation fails. 0 means
	// 1 min.
	Patience time.Duration
}

// Queue is a queue of SQS.
type Queue struct {
	client   *sqs.Client
	name     string
	url      *string
	term     time.Duration
	patience time.Duration
}

var _ queue.Queue = (*Queue)(nil)

// address is what a URL says.
type address struct {
	endpoint, queueURL, name string
	region                   string
	user                     *url.Userinfo
	term                     time.Duration
	create                   bool
}

// Open returns the queue of rawURL, and creates it if the URL says so.
func Open(ctx context.Context, rawURL string, o *Options) (*Queue, error) {
	a, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("sqsqueue: open: %w", err)
	}
	q := &Queue{name: a.name, url: &a.queueURL, term: a.term, patience: defaultPatience}
	if o != nil && o.Patience > 0 {
		q.patience = o.Patience
	}
	if err := q.open(ctx, a); err != nil {
		return nil, fmt.Errorf("sqsqueue: open %s: %w", a.name, err)
	}
	return q, nil
}

func (q *Queue) open(ctx context.Context, a address) error {
	conf, err := a.config(ctx)
	if err != nil {
		return err
	}
	q.client = sqs.NewFromConfig(conf, func(o *sqs.Options) { o.BaseEndpoint = &a.endpoint })
	if !a.create {
		return nil
	}
	return q.retry(ctx, tryTimeout, func(ctx context.Context) error {
		_, err := q.client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &a.name})
		return err
	})
}

func parse(rawURL string) (address, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse has the whole URL in it, secret and all.
		return address{}, fmt.Errorf("malformed URL: %w", fs.ErrInvalid)
	}
	account, name, ok := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if !ok || u.Host == "" || account == "" || name == "" || strings.Contains(name, "/") {
		return address{}, fmt.Errorf("want HOST/ACCOUNT/QUEUE in the URL: %w", fs.ErrInvalid)
	}
	a := address{name: name, user: u.User, term: defaultTerm}
	if host := strings.Split(u.Hostname(), "."); len(host) > 3 && host[0] == "sqs" {
		a.region = host[1]
	}
	scheme := "https"
	for key, values := range u.Query() {
		value, ok := values[0], true
		switch key {
		case "region":
			a.region = value
		case "scheme":
			scheme, ok = value, value == "http" || value == "https"
		case "create":
			a.create, ok = value == "true", value == "true" || value == "false"
		case "term":
			a.term, err = time.ParseDuration(value)
			ok = err == nil && a.term >= time.Second && a.term <= maxTerm && a.term%time.Second == 0
		default:
			return a, fmt.Errorf("unknown parameter %q of the URL: %w", key, fs.ErrInvalid)
		}
		if !ok {
			return a, fmt.Errorf("malformed parameter %s of the URL: %w", key, fs.ErrInvalid)
		}
	}
	a.endpoint = (&url.URL{Scheme: scheme, Host: u.Host}).String()
	a.queueURL = (&url.URL{Scheme: scheme, Host: u.Host, Path: "/" + account + "/" + name}).String()
	return a, nil
}

func (a address) config(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})}
	if a.region != "" {
		options = append(options, config.WithRegion(a.region))
	}
	if a.user != nil {
		secret, _ := a.user.Password()
		provider := credentials.NewStaticCredentialsProvider(a.user.Username(), secret, "")
		options = append(options, config.WithCredentialsProvider(provider))
	}
	conf, err := config.LoadDefaultConfig(ctx, options...)
	switch {
	case err != nil:
		return conf, err
	case conf.Region == "":
		return conf, fmt.Errorf("no region: %w", fs.ErrInvalid)
	}
	if _, err := conf.Credentials.Retrieve(ctx); err != nil {
		return conf, fmt.Errorf("no credentials: %w", err)
	}
	return conf, nil
}

// Send adds a message. An answer that is lost makes the message come twice.
func (q *Queue) Send(ctx context.Context, body []byte) error {
	err := queue.CheckBody(body)
	if err == nil {
		text := encode(body)
		err = q.retry(ctx, tryTimeout, func(ctx context.Context) error {
			_, err := q.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: &text})
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("sqsqueue: send to %s: %w", q.name, err)
	}
	return nil
}

func encode(body []byte) string { return "." + base64.StdEncoding.EncodeToString(body) }

func decode(text string) []byte {
	if code, ok := strings.CutPrefix(text, "."); ok {
		if body, err := base64.StdEncoding.DecodeString(code); err == nil && encode(body) == text {
			return body
		}
	}
	return []byte(text)
}

// Receive takes a message. One that was on its way when ctx ended comes again after
// its term.
func (q *Queue) Receive(ctx context.Context) (queue.Message, error) {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: q.url, MaxNumberOfMessages: 1,
		WaitTimeSeconds: int32(pollWait.Seconds()), VisibilityTimeout: int32(q.term.Seconds()),
	}
	for {
		var out *sqs.ReceiveMessageOutput
		err := q.retry(ctx, pollWait+tryTimeout, func(ctx context.Context) (err error) {
			out, err = q.client.ReceiveMessage(ctx, in)
			return err
		})
		if err != nil {
			return queue.Message{}, fmt.Errorf("sqsqueue: receive from %s: %w", q.name, err)
		}
		if len(out.Messages) > 0 {
			m := out.Messages[0]
			return queue.Message{Body: decode(aws.ToString(m.Body)), Term: q.term, Lease: lease{q, m.ReceiptHandle}}, nil
		}
	}
}

// retry calls f until it succeeds, fails for good, or the server was away for too
// long. The context that f gets ends with each try.
func (q *Queue) retry(ctx context.Context, timeout time.Duration, f func(ctx context.Context) error) error {
	until := time.Now().Add(q.patience)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		try, cancel := context.WithTimeout(ctx, timeout)
		err := f(try)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(until) || lasting(err):
			return absent(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryDelay):
		}
	}
}

// lasting reports whether the server blames the request, and not itself. To be
// throttled is to be told to come later.
func lasting(err error) bool {
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	api, known := errors.AsType[smithy.APIError](err)
	if !ok || !known || answer.HTTPStatusCode()/100 != 4 {
		return false
	}
	code := strings.ToLower(api.ErrorCode())
	return !strings.Contains(code, "throttl") && !strings.Contains(code, "overlimit")
}

// absent marks an error that says that the queue or the claim on a message is gone.
func absent(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	for _, gone := range []string{"queuedoesnotexist", "nonexistentqueue", "queuenotfound", "notinflight", "receipthandleisinvalid"} {
		if strings.Contains(strings.ToLower(api.ErrorCode()), gone) {
			return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
	}
	return err
}

// lease is the claim on a message.
type lease struct {
	q       *Queue
	receipt *string
}

// Done deletes the message.
func (l lease) Done(ctx context.Context) error {
	return l.wrap("finish", l.q.retry(ctx, tryTimeout, func(ctx context.Context) error {
		_, err := l.q.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: l.q.url, ReceiptHandle: l.receipt})
		return err
	}))
}

// Release rounds the time up to whole seconds; more than 12 hours are 12 hours.
func (l lease) Release(ctx context.Context, after time.Duration) error {
	after = min(max(after, 0), maxTerm)
	return l.wrap("release", l.hide(ctx, (after+time.Second-1).Truncate(time.Second)))
}

// Extend begins a new term. SQS ends the last one 12 hours after the message was received.
func (l lease) Extend(ctx context.Context) error { return l.wrap("extend", l.hide(ctx, l.q.term)) }

// hide lets the message be delivered again after d.
func (l lease) hide(ctx context.Context, d time.Duration) error {
	return l.q.retry(ctx, tryTimeout, func(ctx context.Context) error {
		_, err := l.q.client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: l.q.url, ReceiptHandle: l.receipt, VisibilityTimeout: int32(d.Seconds()),
		})
		return err
	})
}

func (l lease) wrap(verb string, err error) error {
	if err != nil {
		return fmt.Errorf("sqsqueue: %s message of %s: %w", verb, l.q.name, err)
	}
	return nil
}
