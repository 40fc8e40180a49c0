package copies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// Data returns the verified bytes of d from the first copy that has them.
func (c *Copies) Data(ctx context.Context, d, containing digest.Digest) ([]byte, error) {
	var failed error
	for rec, err := range c.index.Places(ctx, d, containing) {
		if err != nil {
			return nil, err
		}
		data, err := c.Read(ctx, rec)
		if err == nil {
			return data, nil
		}
		failed = Worse(failed, err)
	}
	if failed != nil {
		return nil, failed
	}
	rec, err := c.Root(ctx, d)
	if err != nil {
		return nil, err
	}
	return c.Read(ctx, rec)
}

// Root is the place of a block that has no record of its own: a
// multiple-level index knows a root only by its plan.
func (c *Copies) Root(ctx context.Context, d digest.Digest) (index.Record, error) {
	for p, err := range c.index.Plans(ctx, d) {
		if err != nil {
			return index.Record{}, err
		}
		e, seg, err := p.Entry(ctx, p.First())
		if err != nil {
			return index.Record{}, err
		}
		return p.Record(ctx, e, seg)
	}
	return index.Record{}, fmt.Errorf("copies: block %s: %w", d, fs.ErrNotExist)
}

// Other returns the verified bytes of d from a copy that is not in
// quarantine, or the error that made another one necessary.
func (c *Copies) Other(ctx context.Context, d digest.Digest, failed error) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, failed
	}
	data, err := c.Data(ctx, d, digest.Digest{})
	if err != nil {
		return nil, Worse(failed, err)
	}
	return data, nil
}

// Worse keeps the error that tells more: corruption over absence, anything over nothing.
func Worse(a, b error) error {
	if a == nil || errors.Is(a, fs.ErrNotExist) && !errors.Is(b, fs.ErrNotExist) {
		return b
	}
	return a
}

// Read returns the bytes of a record, verified.
func (c *Copies) Read(ctx context.Context, rec index.Record) ([]byte, error) {
	if rec.Length > block.MaxSize {
		return nil, fmt.Errorf("copies: block %s of %d bytes: %w", rec.Digest, rec.Length, block.ErrTooLarge)
	}
	obj, err := c.Get(ctx, rec.Location, rec.Offset, rec.Length)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	data := make([]byte, rec.Length)
	if _, err := io.ReadFull(obj, data); err != nil {
		err = fmt.Errorf("copies: read %s in %s: %w", rec.Digest, rec.Location, Truncated(err))
		return nil, c.Fault(ctx, rec.Digest, rec.Location, obj, err)
	}
	if err := c.check(ctx, rec, data); err != nil {
		return nil, c.Fault(ctx, rec.Digest, rec.Location, obj, err)
	}
	c.verified.Add(c.key(rec.Location), obj.Info().Version, rec.Offset, rec.Length)
	return data, nil
}

// Truncated makes an early end what it is here: bytes that are not those promised.
func Truncated(err error) error {
	if errors.Is(err, blob.ErrChanged) {
		return err
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, blob.ErrRange) {
		return fmt.Errorf("%w: %w", digest.ErrMismatch, io.ErrUnexpectedEOF)
	}
	return err
}

// check hashes data unless verification is left to others. Where the hash
// function is unknown nothing can be said, so nothing is served.
func (c *Copies) check(ctx context.Context, rec index.Record, data []byte) error {
	if c.o.Verify == VerifyNever && !c.suspects.has(ctx, c.index, rec.Location) {
		return nil
	}
	select {
	case c.hashing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := rec.Digest.Verify(data)
	<-c.hashing
	c.Hashed(1, int64(len(data)), err)
	return err
}

// Fault reports a copy that is corrupt and returns err. A raw file that was changed
// while it was read is not corrupt: what was meant is gone.
func (c *Copies) Fault(ctx context.Context, d digest.Digest, loc index.Location, obj blob.Object, err error) error {
	if err == nil || !errors.Is(err, digest.ErrMismatch) {
		return err
	}
	if changed := Recheck(obj); changed != nil {
		return fmt.Errorf("copies: %s: %w", loc, changed)
	}
	if c.o.Quarantine != nil {
		c.o.Quarantine(context.WithoutCancel(ctx), d, loc, err)
	}
	c.suspects.add(loc)
	return fmt.Errorf("copies: %s: %w", loc, err)
}

// Copied reports whether the block of an entry is in an object that is there.
func (c *Copies) Copied(ctx context.Context, e index.Entry) bool {
	d, err := digestOf(e)
	if err != nil {
		return false
	}
	for rec, err := range c.index.Places(ctx, d, digest.Digest{}) {
		if err != nil {
			return false
		}
		if c.Stat(ctx, rec.Location) == nil {
			return true
		}
	}
	return false
}

func digestOf(e index.Entry) (digest.Digest, error) {
	id, err := e.CID()
	if err != nil {
		return digest.Digest{}, err
	}
	return digest.FromCID(id)
}
