// Package natsqueue is a queue on NATS JetStream: a stream with the retention of a
// work queue, read by one durable consumer that all receivers share.
//
// Core NATS delivers at most once and keeps nothing, so neither it nor
// gocloud.dev/pubsub/natspubsub, which is built on it, can be this queue. JetStream
// stores each message until it is acknowledged; one that is not within its term is
// delivered again, any number of times. As durable as JetStream is: a server of
// version 2.9 syncs its files every two minutes, so what must survive the loss of a
// machine wants replicas.
//
// # URL
//
//	nats://user:password@host:port/STREAM?subject=S&consumer=C&term=30s&replicas=3
//
// tls:// encrypts. The stream and the consumer are created if they do not exist. The
// subject is STREAM by default, the consumer "hashstream", the term 30 s, replicas 1.
// All who share a consumer should give the same term.
//
// # Errors
//
// As package queue says. Whether a term has ended, the client cannot tell.
//
// A Queue is safe for concurrent use. It reconnects by itself.
package natsqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashstream/hashstream/queue"
)

const (
	defaultTerm     = 30 * time.Second
	defaultPatience = time.Minute
	defaultConsumer = "hashstream"

	pullWait   = time.Second            // how long the server keeps a request for a message
	tryTimeout = 5 * time.Second        // for one answer of the server
	retryDelay = 200 * time.Millisecond // between tries
)

// Options of a queue.
type Options struct {
	// Patience is how long a server may be away before an operation fails. 0 means
	// 1 min.
	Patience time.Duration
}

// Queue is a work queue on a NATS server.
type Queue struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	consumer jetstream.Consumer
	address  address
	patience time.Duration
	late     sync.WaitGroup // requests whose receivers left
}

var _ queue.Queue = (*Queue)(nil)

// address is what a URL says.
type address struct {
	server                    string // with credentials: for the client alone
	stream, subject, consumer string
	term                      time.Duration
	replicas                  int
}

// Open connects to the server of rawURL and creates the stream and the consumer as
// needed. The caller closes the queue.
func Open(ctx context.Context, rawURL string, o *Options) (*Queue, error) {
	a, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("natsqueue: open: %w", err)
	}
	q := &Queue{address: a, patience: defaultPatience}
	if o != nil && o.Patience > 0 {
		q.patience = o.Patience
	}
	if err := q.open(ctx); err != nil {
		q.Close()
		return nil, fmt.Errorf("natsqueue: open stream %s: %w", a.stream, err)
	}
	return q, nil
}

func parse(rawURL string) (address, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse has the whole URL in it, password and all.
		return address{}, fmt.Errorf("malformed URL: %w", fs.ErrInvalid)
	}
	a := address{stream: strings.Trim(u.Path, "/"), consumer: defaultConsumer, term: defaultTerm, replicas: 1}
	if a.subject = a.stream; a.stream == "" || strings.ContainsAny(a.stream, "/. *>\t\r\n\\") {
		return a, fmt.Errorf("stream %q in the path of the URL: %w", a.stream, fs.ErrInvalid)
	}
	for key, values := range u.Query() {
		value, err := values[0], error(nil)
		switch key {
		case "subject":
			a.subject = value
		case "consumer":
			a.consumer = value
		case "term":
			if a.term, err = time.ParseDuration(value); a.term < time.Second {
				err = fs.ErrInvalid
			}
		case "replicas":
			a.replicas, err = strconv.Atoi(value)
		default:
			return a, fmt.Errorf("unknown parameter %q of the URL: %w", key, fs.ErrInvalid)
		}
		if err != nil { // which may hold the value: nobody knows what that tells
			return a, fmt.Errorf("malformed parameter %s of the URL: %w", key, fs.ErrInvalid)
		}
	}
	a.server = (&url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}).String()
	return a, nil
}

func (q *Queue) open(ctx context.Context) (err error) {
	q.conn, err = nats.Connect(q.address.server,
		nats.Name("hashstream"), nats.MaxReconnects(-1),
		nats.ReconnectWait(retryDelay), nats.ReconnectJitter(retryDelay, retryDelay),
		// The default writes to standard error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	)
	if err != nil {
		return err
	}
	if q.js, err = jetstream.New(q.conn); err != nil {
		return err
	}
	return q.retry(ctx, func(ctx context.Context) error {
		stream, err := q.stream(ctx)
		if err != nil {
			return err
		}
		q.consumer, err = stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       q.address.consumer,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       q.address.term,
			MaxDeliver:    -1, // who gives up on a message is not the queue
			MaxAckPending: -1, // what waits to be delivered again counts, too
		})
		return err
	})
}

// stream returns the stream as it is, or creates it.
func (q *Queue) stream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := q.js.Stream(ctx, q.address.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = q.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:      q.address.stream,
			Subjects:  []string{q.address.subject},
			Retention: jetstream.WorkQueuePolicy,
			Replicas:  q.address.replicas,
		})
	}
	if err != nil {
		return nil, err
	}
	if r := stream.CachedInfo().Config.Retention; r != jetstream.WorkQueuePolicy {
		return nil, fmt.Errorf("its retention is %v, not that of a work queue: %w", r, fs.ErrInvalid)
	}
	return stream, nil
}

// Close ends the connection. Messages that were received come again after their term.
func (q *Queue) Close() error {
	q.late.Wait()
	if q.conn != nil {
		q.conn.Close()
	}
	return nil
}

// Send adds a message. When it returns, the stream has it: if the answer is lost, it
// is sent again under the same id, which the server stores once.
func (q *Queue) Send(ctx context.Context, body []byte) error {
	err := queue.CheckBody(body)
	if err == nil {
		id := rand.Text()
		err = q.retry(ctx, func(ctx context.Context) error {
			_, err := q.js.Publish(ctx, q.address.subject, body,
				jetstream.WithMsgID(id), jetstream.WithExpectStream(q.address.stream))
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("natsqueue: send to %s: %w", q.address.subject, err)
	}
	return nil
}

// Receive takes a message.
func (q *Queue) Receive(ctx context.Context) (queue.Message, error) {
	var m jetstream.Msg
	for m == nil {
		err := q.retry(ctx, func(context.Context) (err error) {
			m, err = q.pull(ctx)
			return err
		})
		if err != nil {
			return queue.Message{}, fmt.Errorf("natsqueue: receive from %s: %w", q.address.stream, err)
		}
	}
	return queue.Message{Body: m.Data(), Term: q.address.term, Lease: lease{q, m}}, nil
}

// pull asks the server for a message, which is nil if there was none for a while.
func (q *Queue) pull(ctx context.Context) (jetstream.Msg, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	batch, err := q.consumer.Fetch(1, jetstream.FetchMaxWait(pullWait))
	if err != nil {
		return nil, err
	}
	select {
	case m, ok := <-batch.Messages():
		if ok {
			return m, nil
		}
	case <-ctx.Done():
		q.late.Go(func() { giveBack(batch) })
		return nil, context.Cause(ctx)
	}
	if err := batch.Error(); err != nil {
		return nil, err
	}
	if !q.conn.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	return nil, nil
}

// giveBack lets a message that still comes be delivered to somebody else at once.
func giveBack(batch jetstream.MessageBatch) {
	for m := range batch.Messages() {
		m.Nak() // if it fails, the message comes again after its term
	}
}

// retry calls f until it succeeds, fails for good, or the server was away for too
// long. The context that f gets ends with each try.
func (q *Queue) retry(ctx context.Context, f func(ctx context.Context) error) error {
	until := time.Now().Add(q.patience)
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		err := f(try)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if lasting(err) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryDelay):
		}
	}
}

// lasting reports whether err would come again. A server that starts has no streams
// at first, so that their absence is not lasting.
func lasting(err error) bool {
	for _, e := range []error{
		fs.ErrInvalid, nats.ErrConnectionClosed, nats.ErrMaxPayload, nats.ErrAuthorization,
		nats.ErrPermissionViolation, jetstream.ErrMsgAlreadyAckd, jetstream.ErrInvalidOption,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrInvalidStreamName, jetstream.ErrInvalidConsumerName,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code == 400
}

// lease is the claim on a message.
type lease struct {
	q *Queue
	m jetstream.Msg
}

// Done waits until the server knows.
func (l lease) Done(ctx context.Context) error {
	return l.wrap("finish", l.q.retry(ctx, l.m.DoubleAck))
}

// Release tells the server, and does not wait until it knows.
func (l lease) Release(ctx context.Context, after time.Duration) error {
	if ctx.Err() != nil {
		return l.wrap("release", context.Cause(ctx))
	}
	return l.wrap("release", l.m.NakWithDelay(max(after, 0)))
}

// Extend tells the server, and does not wait until it knows.
func (l lease) Extend(ctx context.Context) error {
	if ctx.Err() != nil {
		return l.wrap("extend", context.Cause(ctx))
	}
	return l.wrap("extend", l.m.InProgress())
}

func (l lease) wrap(verb string, err error) error {
	if errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		err = fmt.Errorf("its term ended: %w", fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("natsqueue: %s message of %s: %w", verb, l.q.address.stream, err)
	}
	return nil
}
