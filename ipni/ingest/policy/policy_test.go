package policy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

const (
	a = peer.ID("\x00\x24\x08\x01\x12\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	b = peer.ID("\x00\x24\x08\x01\x12\x20bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
)

func TestRules(t *testing.T) {
	store := memkv.New()
	for _, deny := range []bool{false, true} {
		l := policy.New(store, &policy.Options{DenyByDefault: deny})
		if err := l.Check(a); (err != nil) != deny || err != nil && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("by default: %v", err)
		}
		if err := l.Set(t.Context(), a, deny); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*policy.Lists{l, policy.New(store, nil)} { // another node
			if err := l.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := l.Check(a); (err != nil) == deny {
				t.Errorf("with a rule: %v", err)
			}
			if r := l.Rules(); len(r) != 1 || r[a] != deny {
				t.Errorf("rules %v", r)
			}
		}
		if err := l.Unset(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(a); (err != nil) != deny {
			t.Errorf("without the rule: %v", err)
		}
	}
	if err := store.Batch(t.Context(), []kv.Op{kv.Put([]byte("Niy"+a), []byte{1, 2})}); err != nil {
		t.Fatal(err)
	}
	if err := policy.New(store, nil).Load(t.Context()); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("load of a malformed rule: %v", err)
	}
}

// late is a store that calls a function when all was read.
type late struct {
	kv.Store
	read func()
}

func (s *late) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		s.Store.Scan(ctx, r)(yield)
		if f := s.read; f != nil {
			s.read = nil
			f()
		}
	}
}

// What is set while the rules are read holds at once, and for good.
func TestSetDuringLoad(t *testing.T) {
	store := &late{Store: memkv.New()}
	if err := policy.New(store, nil).Set(t.Context(), b, false); err != nil {
		t.Fatal(err)
	}
	l := policy.New(store, nil)
	store.read = func() {
		if err := l.Set(t.Context(), a, false); err != nil {
			t.Error(err)
		}
	}
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []peer.ID{a, b} {
		if err := l.Check(id); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestCheckAd(t *testing.T) {
	for name, x := range map[string]struct {
		publisher, signer, provider peer.ID
		o                           policy.Options
		good                        bool
	}{
		"the provider itself":       {a, a, a, policy.Options{}, true},
		"another signer":            {a, b, a, policy.Options{}, false},
		"another publisher":         {b, a, a, policy.Options{}, false},
		"another for it":            {b, b, a, policy.Options{}, false},
		"a delegate":                {b, b, a, policy.Options{Delegates: map[peer.ID][]peer.ID{a: {b}}}, true},
		"a delegate of another":     {b, b, a, policy.Options{Delegates: map[peer.ID][]peer.ID{b: {b}}}, false},
		"any":                       {b, b, a, policy.Options{AnyPublisher: true}, true},
		"any, which is not allowed": {b, b, a, policy.Options{AnyPublisher: true, DenyByDefault: true}, false},
	} {
		err := policy.New(memkv.New(), &x.o).CheckAd(x.publisher, &ad.Ad{Provider: x.provider, Signer: x.signer})
		if (err == nil) != x.good || err != nil && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAddrs(t *testing.T) {
	public := []string{
		"/ip4/8.8.8.8/tcp/80/http", "/ip6/2606:4700::1111/tcp/443/https", "/dns4/example.com/tcp/443/https", "/dnsaddr/example.com",
		"/ip4/8.8.8.8/tcp/4001/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5/p2p-circuit",
	}
	private := []string{
		"/ip4/127.0.0.1/tcp/80", "/ip4/10.0.0.1/tcp/80", "/ip4/172.16.0.1/tcp/80", "/ip4/192.168.0.1/tcp/80", "/ip4/169.254.169.254/tcp/80",
		"/ip4/100.64.0.1/tcp/80", "/ip4/0.0.0.0/tcp/80", "/ip6/::1/tcp/80", "/ip6/fe80::1/tcp/80", "/ip6/fd00::1/tcp/80", "/ip6/::ffff:10.0.0.1/tcp/80",
		"/ip6zone/eth0/ip6/fe80::1/tcp/80", "/dns4/localhost/tcp/80", "/dns/printer.local/tcp/80", "/unix/run/docker.sock",
	}
	l, own := policy.New(memkv.New(), nil), policy.New(memkv.New(), &policy.Options{AllowPrivate: true})
	for i, text := range append(public, private...) {
		addr, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			t.Fatal(err)
		}
		good, err := l.Addrs([]multiaddr.Multiaddr{addr})
		if (len(good) == 1) != (i < len(public)) || (err == nil) != (i < len(public)) {
			t.Errorf("%s: %v, %v", text, good, err)
		}
		if good, err := own.Addrs([]multiaddr.Multiaddr{addr}); len(good) != 1 || err != nil {
			t.Errorf("%s in a network of one's own: %v, %v", text, good, err)
		}
	}
	if _, err := l.Addrs(make([]multiaddr.Multiaddr, 1000)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("1,000 addresses: %v", err)
	}
	if _, err := l.Addrs([]multiaddr.Multiaddr{nil}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("an empty address: %v", err)
	}
}

func ExampleLists() {
	l := policy.New(memkv.New(), &policy.Options{Delegates: map[peer.ID][]peer.ID{a: {b}}})
	fmt.Println(l.CheckAd(b, &ad.Ad{Provider: a, Signer: b}))
	l.Set(context.Background(), a, false)
	fmt.Println(errors.Is(l.CheckAd(b, &ad.Ad{Provider: a, Signer: b}), fs.ErrPermission))
	// Output:
	// <nil>
	// true
}
