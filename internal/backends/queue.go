package backends

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/queue"
	"github.com/hashstream/hashstream/queue/memqueue"
	"github.com/hashstream/hashstream/queue/natsqueue"
	"github.com/hashstream/hashstream/queue/sqsqueue"
)

// queues is the map for queues of work.
func queues() map[string]backend[queue.Queue] {
	return map[string]backend[queue.Queue]{
		"awssqs": {resolveURL, openSQS},
		"mem":    {resolveMem, openMemQueue},
		"nats":   {resolveURL, openNATS},
		"tls":    {resolveURL, openNATS},
	}
}

func openMemQueue(context.Context, string, Options) (queue.Queue, io.Closer, error) {
	return memqueue.New(nil), nothing{}, nil
}

func openNATS(ctx context.Context, where string, _ Options) (queue.Queue, io.Closer, error) {
	q, err := natsqueue.Open(ctx, where, nil)
	if err != nil {
		return nil, nil, err
	}
	return q, q, nil
}

func openSQS(ctx context.Context, where string, _ Options) (queue.Queue, io.Closer, error) {
	q, err := sqsqueue.Open(ctx, where, nil)
	if err != nil {
		return nil, nil, err
	}
	return q, nothing{}, nil
}

// Queue opens the queue of work at rawURL.
func Queue(ctx context.Context, rawURL string) (queue.Queue, io.Closer, error) {
	return open(ctx, queues(), "queue", "", rawURL, nil)
}

// SharedQueue reports whether workers elsewhere can take from the queue at rawURL.
func SharedQueue(rawURL string) bool {
	u, err := url.Parse(rawURL)
	return err == nil && u.Scheme != "mem"
}

// checkSources returns an error if the roots or the queue of c cannot be used.
func checkSources(c config.Config) error {
	if _, _, err := find(queues(), "queue", c.Home, c.Pipeline.Queue); err != nil {
		return err
	}
	if _, err := NewSources(c.Sources.Roots, nil); err != nil {
		return fmt.Errorf("%w (%w)", err, fs.ErrInvalid)
	}
	return nil
}
