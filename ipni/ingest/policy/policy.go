// Package policy decides who may publish, for whom, and from where.
//
// # Who may publish for whom
//
// The signature of an advertisement covers neither its context id nor whose chain it
// stands in. Whoever copies a removal that a provider signed into an own chain could
// remove any context of that provider by changing the context id. So both the signer of
// an advertisement and the publisher, whose signature of the chain's head covers
// everything below it, must be the provider or somebody who was named to speak for it.
// [Options.AnyPublisher] gives that up, as storetheindex does by default.
//
// # Errors
//
// What is not allowed matches [io/fs.ErrPermission], malformed rows [digest.ErrMismatch].
//
// Lists are safe for concurrent use.
package policy

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/kv"
)

// prefix begins the keys of rules; the peer id follows.
const prefix = "Niy"

// Options of lists.
type Options struct {
	// DenyByDefault refuses peers without a rule. The default is to allow them.
	DenyByDefault bool
	// AnyPublisher lets every publisher speak for every provider.
	AnyPublisher bool
	// Delegates are, by provider, the peers that may speak for it. The default is none.
	Delegates map[peer.ID][]peer.ID
	// AllowPrivate accepts addresses that are not public, for networks of one's own.
	AllowPrivate bool
}

// Lists are the rules of a node. Rules by peer are kept in a store, and hold for the
// peer both as a publisher and as a provider.
type Lists struct {
	store kv.Store
	o     Options

	mu      sync.RWMutex
	rules   map[peer.ID]bool // allowed or not
	changes int              // made here
}

// New returns lists whose rules are in store. Nothing is known of them before [Lists.Load].
func New(store kv.Store, o *Options) *Lists {
	l := &Lists{store: store, rules: map[peer.ID]bool{}}
	if o != nil {
		l.o = *o
	}
	return l
}

// Load reads the rules, as another node on the same store may have changed them.
func (l *Lists) Load(ctx context.Context) error {
	for {
		l.mu.RLock()
		changes := l.changes
		l.mu.RUnlock()
		rules, err := l.read(ctx)
		if err != nil {
			return fmt.Errorf("policy: load rules: %w", err)
		}
		l.mu.Lock()
		if l.changes == changes { // else what was read may be older than what is known
			l.rules = rules
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
	}
}

// Follow loads the rules every so often until ctx ends. failed hears of what went wrong.
func (l *Lists) Follow(ctx context.Context, every time.Duration, failed func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.Load(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

func (l *Lists) read(ctx context.Context) (map[peer.ID]bool, error) {
	rules := map[peer.ID]bool{}
	for pair, err := range l.store.Scan(ctx, kv.Prefix([]byte(prefix))) {
		if err != nil {
			return nil, err
		}
		if len(pair.Value) != 2 || pair.Value[0] != 1 || pair.Value[1] > 1 {
			return nil, fmt.Errorf("rule %x: %w", pair.Key, digest.ErrMismatch)
		}
		rules[peer.ID(pair.Key[len(prefix):])] = pair.Value[1] == 1
	}
	return rules, nil
}

// Set makes a rule for a peer, at once and durably.
func (l *Lists) Set(ctx context.Context, id peer.ID, allow bool) error {
	value := []byte{1, 0}
	if allow {
		value[1] = 1
	}
	return l.change(ctx, kv.Put(append([]byte(prefix), id...), value), func() { l.rules[id] = allow })
}

// Unset removes the rule of a peer.
func (l *Lists) Unset(ctx context.Context, id peer.ID) error {
	return l.change(ctx, kv.Delete(append([]byte(prefix), id...)), func() { delete(l.rules, id) })
}

func (l *Lists) change(ctx context.Context, op kv.Op, f func()) error {
	if err := l.store.Batch(ctx, []kv.Op{op}); err != nil {
		return fmt.Errorf("policy: set rule: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	f()
	return nil
}

// Rules returns a copy of the rules: by peer, whether it is allowed.
func (l *Lists) Rules() map[peer.ID]bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return maps.Clone(l.rules)
}

// Check returns an error if a peer may neither publish nor provide.
func (l *Lists) Check(id peer.ID) error {
	l.mu.RLock()
	allow, ok := l.rules[id]
	l.mu.RUnlock()
	if !ok {
		allow = !l.o.DenyByDefault
	}
	if !allow {
		return fmt.Errorf("policy: %s is not allowed: %w", id, fs.ErrPermission)
	}
	return nil
}

// CheckAd returns an error if an advertisement in the chain of publisher must not be heeded.
func (l *Lists) CheckAd(publisher peer.ID, a *ad.Ad) error {
	if err := l.Check(a.Provider); err != nil {
		return err
	}
	for _, by := range []peer.ID{a.Signer, publisher} {
		if !l.speaks(by, a.Provider) {
			return fmt.Errorf("policy: %s may not publish for provider %s: %w", by, a.Provider, fs.ErrPermission)
		}
	}
	return nil
}

func (l *Lists) speaks(by, provider peer.ID) bool {
	return by == provider || l.o.AnyPublisher || slices.Contains(l.o.Delegates[provider], by)
}

// Addrs returns the addresses among addrs that may be contacted, or an error if there
// are none. Names are judged when they are resolved, by who dials.
func (l *Lists) Addrs(addrs []multiaddr.Multiaddr) ([]multiaddr.Multiaddr, error) {
	if len(addrs) > ad.MaxAddrs {
		return nil, fmt.Errorf("policy: %d addresses, at most %d are allowed: %w", len(addrs), ad.MaxAddrs, fs.ErrInvalid)
	}
	var good []multiaddr.Multiaddr
	for _, a := range addrs {
		if len(a) > 0 && len(a.Bytes()) <= ad.MaxAddr && (l.o.AllowPrivate || public(a)) {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("policy: none of %d addresses is public: %w", len(addrs), fs.ErrPermission)
	}
	return good, nil
}

// public reports whether a names a host that anybody can reach. An address through a
// relay is judged by that of the relay, which stands first.
func public(a multiaddr.Multiaddr) bool {
	switch a[0].Code() {
	case multiaddr.P_IP4, multiaddr.P_IP6, multiaddr.P_DNS, multiaddr.P_DNS4, multiaddr.P_DNS6, multiaddr.P_DNSADDR:
		return manet.IsPublicAddr(a) // of names, not localhost and not .local
	}
	return false
}
