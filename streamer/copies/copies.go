// Package copies reads the copies of blocks that an index knows, in packs and in raw
// files, and says which of their bytes are to be believed without being hashed again.
//
// # Errors
//
// Absent content matches [io/fs.ErrNotExist]; content of which every copy is corrupt
// matches [digest.ErrMismatch]. A copy that fails is reported to [Options.Quarantine]. One
// that was changed while it was read is absent: what was meant is gone.
//
// [Copies] are safe for concurrent use.
package copies

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer/spans"
)

// Verify says when bytes are hashed before they are sent.
type Verify string

// The policies.
const (
	VerifyOnce   Verify = "once"   // the first time in this process, and again when the object changes
	VerifyAlways Verify = "always" // every time
	VerifyNever  Verify = "never"  // leave it to the scrubber and the receiver
)

// Store is the pack store.
type Store interface {
	blob.Getter
	blob.Stater
}

// Options tunes [Copies]. Nil and zero values mean the defaults.
type Options struct {
	Verify Verify // default VerifyOnce
	// Files reads raw files by the path of their location, on condition of its
	// version. Without it what lies in raw files is absent.
	Files blob.Conditional
	// Verified is told of blocks that were hashed.
	Verified func(blocks int, bytes int64, err error)
	// Quarantine is told of every copy that failed verification.
	Quarantine func(ctx context.Context, d digest.Digest, loc index.Location, cause error)
}

// Copies reads blocks wherever an index says that they are.
type Copies struct {
	index    *index.Index
	packs    Store
	o        Options
	verified *spans.Set
	suspects suspects
	names    names
	hashing  chan struct{} // bounds the hashing at one time

	Buffers Buffers // what was read is held in
}

// Life bounds how long is believed what another process may have changed in the index.
const Life = time.Minute

// New returns the copies that idx knows, in packs and in raw files.
func New(idx *index.Index, packs Store, o *Options) *Copies {
	c := &Copies{index: idx, packs: packs, verified: spans.New(), hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
	c.suspects.locations = map[index.Location]bool{}
	if o != nil {
		c.o = *o
	}
	if c.o.Verify == "" {
		c.o.Verify = VerifyOnce
	}
	return c
}

// Forget forgets that anything at loc was verified, and asks the index again which
// copies are in quarantine.
func (c *Copies) Forget(loc index.Location) {
	c.verified.Forget(c.key(loc))
	c.suspects.forget()
}

// Remember notes that n bytes from off were verified of a version of what is at loc.
func (c *Copies) Remember(loc index.Location, version string, off, n int64) {
	c.verified.Add(c.key(loc), version, off, n)
}

// Suspect reports whether some copy at loc is in quarantine.
func (c *Copies) Suspect(ctx context.Context, loc index.Location) bool {
	return c.suspects.has(ctx, c.index, loc)
}

// Hashed tells the hook of blocks that were hashed elsewhere.
func (c *Copies) Hashed(blocks int, bytes int64, err error) {
	if c.o.Verified != nil {
		c.o.Verified(blocks, bytes, err)
	}
}

// key is the name under which ranges of a location are remembered as verified.
func (c *Copies) key(loc index.Location) string {
	if loc.Path != "" {
		return loc.Path
	}
	return c.names.of(loc.Pack)
}

// Get opens n bytes of a location from off.
func (c *Copies) Get(ctx context.Context, loc index.Location, off, n int64) (blob.Object, error) {
	name, stored := loc.StoreKey()
	switch {
	case loc.Path == "":
		return c.packs.Get(ctx, c.names.of(loc.Pack), off, n)
	case stored:
		return c.packs.Get(ctx, name, off, n)
	case c.o.Files == nil:
		return nil, fmt.Errorf("copies: %s: raw files are not served: %w", loc, fs.ErrNotExist)
	}
	return c.o.Files.GetIf(ctx, loc.Path, loc.Version, off, n)
}

// Stat returns an error unless there is something at loc.
func (c *Copies) Stat(ctx context.Context, loc index.Location) error {
	name, stored := loc.StoreKey()
	if loc.Path == "" {
		name, stored = c.names.of(loc.Pack), true
	}
	if stored {
		_, err := c.packs.Stat(ctx, name)
		return err
	}
	obj, err := c.Get(ctx, loc, 0, 0)
	if err != nil {
		return err
	}
	return obj.Close()
}

// Recheck returns an error if obj was changed by others while it was read.
func Recheck(obj blob.Object) error {
	if r, ok := obj.(blob.Rechecker); ok {
		return r.Recheck()
	}
	return nil
}

// Trusted reports whether n bytes from off of an object at loc may be sent without
// hashing them now. Nothing may, at a location with a copy in quarantine.
func (c *Copies) Trusted(ctx context.Context, loc index.Location, obj blob.Object, off, n int64) bool {
	if c.o.Verify == VerifyAlways || c.suspects.has(ctx, c.index, loc) {
		return false
	}
	return c.o.Verify == VerifyNever || c.verified.Covers(c.key(loc), obj.Info().Version, off, n)
}
