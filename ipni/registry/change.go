package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/kv"
)

// Limits of a change.
const (
	MaxAddrs    = 128               // addresses of a provider
	MaxAddr     = 1024              // bytes of an address
	MaxExtended = 128               // providers of a [Set]
	MaxContext  = dhash.MaxContext  // bytes of a context id
	MaxMetadata = dhash.MaxMetadata // bytes of metadata of an extended provider
	maxError    = 1024              // bytes of the text of an error that are kept
	maxID       = 256               // bytes of a peer id
)

// Change is what is learned of a provider. The zero value of a field changes nothing.
type Change struct {
	Provider peer.ID

	// Order is the place of the advertisement that says so: that of a later one is greater.
	// Addresses, the last advertisement and extended providers that are of a greater one stay.
	Order             uint64
	Addrs             []multiaddr.Multiaddr
	Advertisement     cid.Cid // was processed
	AdvertisementTime time.Time
	Extended          *Set // replaces the set of the same context id; one that is empty removes it

	// What follows is not a matter of order: the last change counts.
	Publisher *peer.AddrInfo // without addresses, those that are known of the same publisher stay
	Lag       *int
	Failure   *Failure // the zero Failure takes back the last one
	Frozen    *Frozen  // the zero Frozen takes it back
	// Freeze, if it is not zero, is since when the node takes no entries. Of a provider that is not
	// frozen it notes what was the last advertisement before this change, or none if not all below that
	// was processed: who goes on elsewhere stops there.
	Freeze   time.Time
	Inactive *bool

	// Anew has rows that are corrupt begun anew, rather than be an error.
	Anew bool
}

// Failure is why an advertisement was not processed, and when that was seen.
type Failure struct {
	Text string // its first 1,024 bytes are kept
	Time time.Time
}

// Frozen is where a node stopped to take entries.
type Frozen struct {
	At   cid.Cid
	Time time.Time
}

// Apply returns the operations that make changes, in order, of what is stored. Provider may be unknown
// so far. What changes nothing takes no operations. A registry of [NewShared] has made the changes when
// Apply returns, or with an error some of them, which do no harm: to apply them again has the same effect as once.
func (r *Registry) Apply(ctx context.Context, changes ...Change) ([]kv.Op, error) {
	if r.shared {
		return nil, r.merge(ctx, changes)
	}
	b := builder{r: r, providers: map[peer.ID]*providerRow{}, sets: map[setID]*setRow{}}
	for _, c := range changes {
		err := c.check()
		if err == nil {
			err = b.apply(ctx, c)
		}
		if err != nil {
			return nil, fmt.Errorf("registry: change %s: %w", c.Provider, err)
		}
	}
	return b.ops()
}

type setID struct {
	provider  peer.ID
	contextID string
}

type providerRow struct {
	Provider
	old []byte
}

type setRow struct {
	Set
	old []byte
}

// builder collects changes of rows.
type builder struct {
	r         *Registry
	providers map[peer.ID]*providerRow
	sets      map[setID]*setRow
	order     []func() ([]byte, []byte, []byte, error) // key, old and new value of each row
}

func (b *builder) apply(ctx context.Context, c Change) error {
	p, err := b.provider(ctx, c.Provider, c.Anew)
	if err != nil {
		return err
	}
	p.apply(c)
	if c.Extended == nil {
		return nil
	}
	s, err := b.set(ctx, setID{c.Provider, c.Extended.ContextID}, c.Anew)
	if err == nil {
		s.apply(c)
	}
	return err
}

// apply makes a valid change that has extended providers.
func (s *Set) apply(c Change) {
	if c.Order >= s.order {
		order := c.Order
		*s = *c.Extended
		s.order = order
	}
}

// apply makes a valid change.
func (p *Provider) apply(c Change) {
	if !c.Freeze.IsZero() && p.FrozenAtTime.IsZero() {
		p.freeze(c.Freeze)
	}
	if len(c.Addrs) > 0 && c.Order >= p.addrsOrder {
		p.Addrs, p.addrsOrder = c.Addrs, c.Order
	}
	if c.Advertisement.Defined() && c.Order >= p.adOrder {
		p.LastAdvertisement, p.LastAdvertisementTime, p.adOrder = c.Advertisement, c.AdvertisementTime, c.Order
	}
	if c.Publisher != nil {
		if len(c.Publisher.Addrs) > 0 || c.Publisher.ID != p.Publisher.ID {
			p.Publisher = *c.Publisher
		}
	}
	if c.Lag != nil {
		p.Lag = *c.Lag
	}
	if c.Failure != nil {
		p.LastError, p.LastErrorTime = clip(c.Failure.Text), c.Failure.Time
	}
	if c.Frozen != nil {
		p.FrozenAt, p.FrozenAtTime = c.Frozen.At, c.Frozen.Time
	}
	if c.Inactive != nil {
		p.Inactive = *c.Inactive
	}
}

// freeze notes where the node stopped to take entries.
func (p *Provider) freeze(now time.Time) {
	p.FrozenAtTime = now
	if !p.LastAdvertisementTime.IsZero() {
		p.FrozenAtTime = p.LastAdvertisementTime
	}
	if p.Lag == 0 {
		p.FrozenAt = p.LastAdvertisement
	}
}

// clip returns what is kept of the text of an error.
func clip(s string) string {
	if len(s) > maxError {
		s = s[:maxError]
	}
	return strings.ToValidUTF8(s, "")
}

func (b *builder) provider(ctx context.Context, id peer.ID, anew bool) (*providerRow, error) {
	if p := b.providers[id]; p != nil {
		return p, nil
	}
	key := providerKey(id)
	old, err := b.r.kv.Get(ctx, key)
	p := &providerRow{Provider: Provider{ID: id}, old: old}
	if err == nil {
		if p.Provider, err = decodeProvider(id, old); anew && errors.Is(err, digest.ErrMismatch) {
			p.Provider, err = Provider{ID: id}, nil
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	b.providers[id] = p
	b.order = append(b.order, func() ([]byte, []byte, []byte, error) {
		value, err := encodeProvider(p.Provider)
		return key, p.old, value, err
	})
	return p, err
}

func (b *builder) set(ctx context.Context, id setID, anew bool) (*setRow, error) {
	if s := b.sets[id]; s != nil {
		return s, nil
	}
	key := setKey(id.provider, id.contextID)
	old, err := b.r.kv.Get(ctx, key)
	s := &setRow{Set: Set{ContextID: id.contextID}, old: old}
	if err == nil {
		if s.Set, err = parseSet(id.provider, kv.Pair{Key: key, Value: old}); anew && errors.Is(err, digest.ErrMismatch) {
			s.Set, err = Set{ContextID: id.contextID}, nil
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	b.sets[id] = s
	b.order = append(b.order, func() ([]byte, []byte, []byte, error) {
		value, err := encodeSet(s.Set)
		return key, s.old, value, err
	})
	return s, err
}

// ops returns a write for each row that differs.
func (b *builder) ops() ([]kv.Op, error) {
	var ops []kv.Op
	for _, row := range b.order {
		key, old, value, err := row()
		if err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
		if old == nil || !bytes.Equal(old, value) {
			ops = append(ops, kv.Put(key, value))
		}
	}
	return ops, nil
}

// check returns why c cannot be applied.
func (c Change) check() error {
	err := errors.Join(checkID(c.Provider), checkAddrs(c.Addrs))
	if c.Publisher != nil {
		err = errors.Join(err, checkInfo(*c.Publisher))
	}
	if c.Lag != nil && *c.Lag < 0 {
		err = errors.Join(err, fmt.Errorf("lag %d: %w", *c.Lag, fs.ErrInvalid))
	}
	if c.Extended != nil {
		err = errors.Join(err, c.Extended.check())
	}
	return err
}

func (s *Set) check() error {
	switch {
	case len(s.ContextID) > MaxContext:
		return fmt.Errorf("context id of %d bytes: %w", len(s.ContextID), fs.ErrInvalid)
	case len(s.Providers) > MaxExtended:
		return fmt.Errorf("%d extended providers, at most %d are allowed: %w", len(s.Providers), MaxExtended, fs.ErrInvalid)
	case s.Override && s.ContextID == "":
		return fmt.Errorf("extended providers override without a context id: %w", fs.ErrInvalid)
	}
	for _, p := range s.Providers {
		if err := checkInfo(p.AddrInfo); err != nil {
			return err
		}
		if len(p.Metadata) > MaxMetadata {
			return fmt.Errorf("metadata of %d bytes: %w", len(p.Metadata), fs.ErrInvalid)
		}
	}
	return nil
}

func checkInfo(i peer.AddrInfo) error { return errors.Join(checkID(i.ID), checkAddrs(i.Addrs)) }

func checkAddrs(addrs []multiaddr.Multiaddr) error {
	if len(addrs) > MaxAddrs {
		return fmt.Errorf("%d addresses, at most %d are allowed: %w", len(addrs), MaxAddrs, fs.ErrInvalid)
	}
	for _, a := range addrs {
		if n := len(a.Bytes()); n == 0 || n > MaxAddr {
			return fmt.Errorf("address of %d bytes: %w", n, fs.ErrInvalid)
		}
	}
	return nil
}
