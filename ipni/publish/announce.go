package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

// Announcements that fail are repeated after these times, doubling from the first to the last.
const (
	firstRetry = time.Second
	lastRetry  = 10 * time.Minute
)

// Unannounced returns the head that indexers are still to be told of, or an error that
// matches [io/fs.ErrNotExist].
func (p *Publisher) Unannounced(ctx context.Context) (cid.Cid, error) {
	b, err := p.kv.Get(ctx, announceKey())
	var c cid.Cid
	if err == nil {
		if c, err = cid.Cast(b); err != nil {
			err = fmt.Errorf("%w: %w", digest.ErrMismatch, err)
		}
	}
	if err != nil {
		return cid.Undef, fmt.Errorf("publish: head to announce: %w", err)
	}
	return c, nil
}

// Announce tells indexers of the head, if they have not been told, by [Options].Announce. What
// is to be announced survives a restart.
func (p *Publisher) Announce(ctx context.Context) error {
	if p.options.Announce == nil {
		return nil
	}
	c, err := p.Unannounced(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = p.options.Announce(ctx, c)
	}
	if err == nil {
		err = p.announced(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("publish: announce: %w", err)
	}
	return nil
}

// announced notes that indexers know c. A head that came meanwhile is still to be announced.
func (p *Publisher) announced(ctx context.Context, c cid.Cid) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kv.Update(ctx, announceKey(), func(old []byte) ([]byte, error) {
		if string(old) == c.KeyString() {
			return nil, nil
		}
		return old, nil
	})
}

// Run announces heads until ctx ends: at once what was not announced before, then each head
// that comes; and again what failed, after a second and then ever later, up to ten minutes.
func (p *Publisher) Run(ctx context.Context) error {
	wait := firstRetry
	for {
		moved, again := p.moved, (<-chan time.Time)(nil)
		if err := p.Announce(ctx); err == nil {
			wait = firstRetry
		} else {
			// Heads that come meanwhile do not make it faster.
			moved, again = nil, time.After(wait)
			wait = min(2*wait, lastRetry)
			if p.options.Log != nil && ctx.Err() == nil {
				p.options.Log.WarnContext(ctx, "announcement failed", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		case <-again:
		}
	}
}
