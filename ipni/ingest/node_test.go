package ingest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// sink keeps what it is given, and tells what a lookup would find.
type sink struct {
	mu       sync.Mutex
	groups   map[ipni.Group]map[string]bool
	metadata map[ipni.Context]string
	fail     func(what string) error
	puts     int
}

func newSink() *sink {
	return &sink{groups: map[ipni.Group]map[string]bool{}, metadata: map[ipni.Context]string{}}
}

func (s *sink) begin(what string) error {
	s.mu.Lock()
	if s.fail != nil {
		return s.fail(what)
	}
	return nil
}

func (s *sink) Put(_ context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	defer s.mu.Unlock()
	if err := s.begin("put"); err != nil {
		return err
	}
	s.puts++
	if s.groups[g] == nil {
		s.groups[g] = map[string]bool{}
	}
	for mh, err := range mhs.All() {
		if err != nil {
			return err
		}
		s.groups[g][string(mh)] = true
	}
	return nil
}

func (s *sink) Remove(_ context.Context, c ipni.Context, before uint64) error {
	defer s.mu.Unlock()
	if err := s.begin("remove"); err != nil {
		return err
	}
	maps.DeleteFunc(s.groups, func(g ipni.Group, _ map[string]bool) bool { return g.Context == c && g.Epoch < before })
	return nil
}

func (s *sink) PutMetadata(_ context.Context, c ipni.Context, md []byte) error {
	defer s.mu.Unlock()
	if err := s.begin("metadata"); err != nil {
		return err
	}
	if md == nil {
		delete(s.metadata, c)
	} else {
		s.metadata[c] = string(md)
	}
	return nil
}

// view is what can be found: multihashes and metadata by context.
type view map[string]string

func viewKey(c ipni.Context) string { return c.Provider.ShortString() + " " + c.ID }

func (s *sink) view() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[ipni.Context]map[string]bool{}
	for g, mhs := range s.groups {
		if found[g.Context] == nil {
			found[g.Context] = map[string]bool{}
		}
		maps.Copy(found[g.Context], mhs)
	}
	return makeView(found, s.metadata)
}

func makeView(found map[ipni.Context]map[string]bool, md map[ipni.Context]string) view {
	v := view{}
	for c, mhs := range found {
		for _, mh := range slices.Sorted(maps.Keys(mhs)) {
			v[viewKey(c)] += fmt.Sprintf("%x ", mh[2:6])
		}
	}
	for c, m := range md {
		v[viewKey(c)] += fmt.Sprintf("metadata %x", m)
	}
	return v
}

// epochs returns how many groups a context has.
func (s *sink) epochs(c ipni.Context) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range s.groups {
		if g.Context == c {
			n++
		}
	}
	return n
}

// records returns how many multihashes there are in all groups.
func (s *sink) records() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, mhs := range s.groups {
		n += len(mhs)
	}
	return n
}

// has reports which of the contents are found under a context of a provider.
func (s *sink) has(provider peer.ID, context string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g, mhs := range s.groups {
		if g.Context == (ipni.Context{Provider: provider, ID: context}) && mhs[string(hash(n))] {
			return true
		}
	}
	return false
}

// node is an ingester with its stores, which outlive it.
type node struct {
	kv         kv.Store
	sink       *sink
	registry   *registry.Registry
	publishers []*publisher
	events     []ingest.AdEvent
	paused     int
	wrap       func(ipni.Sink) ipni.Sink // or nil
	mu         sync.Mutex
	*ingest.Ingester
	stop func()
}

func newNode(publishers ...*publisher) *node {
	store := memkv.New()
	return &node{kv: store, sink: newSink(), registry: registry.New(store), publishers: publishers}
}

func (n *node) open(_ context.Context, info peer.AddrInfo) (ipni.Chain, error) {
	for _, p := range n.publishers {
		if p.id == info.ID && slices.ContainsFunc(info.Addrs, p.addr.Equal) {
			return p, nil
		}
	}
	return nil, errors.New("nobody is at these addresses")
}

// start runs an ingester until the test ends or stop is called.
func (n *node) start(t testing.TB, o *ingest.Options) *node {
	t.Helper()
	if o == nil {
		o = &ingest.Options{}
	}
	opts := *o
	opts.Trace.Ad = func(e ingest.AdEvent) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, e)
	}
	opts.Trace.Paused = func(error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.paused++
	}
	var to ipni.Sink = n.sink
	if n.wrap != nil {
		to = n.wrap(to)
	}
	n.Ingester = ingest.New(n.kv, to, n.registry, n.open, &opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	in := n.Ingester
	go func() {
		defer close(done)
		in.Run(ctx)
	}()
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) sync(t testing.TB, p *publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	if err := n.Sync(ctx, p.info(), nil); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

// want checks the status of an advertisement.
func (n *node) want(t testing.TB, c cid.Cid, s state.Status) ingest.AdStatus {
	t.Helper()
	got, err := n.AdStatus(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != s {
		t.Errorf("advertisement %s: status %s (%s), want %s", c, got.Status, got.Reason, s)
	}
	return got
}

func (n *node) status(t testing.TB, p *publisher) ingest.Status {
	t.Helper()
	s, err := n.Status(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// processed returns how often each advertisement was processed.
func (n *node) processed() map[cid.Cid]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := map[cid.Cid]int{}
	for _, e := range n.events {
		m[e.CID]++
	}
	return m
}

// oracle processes a whole chain in order, as simply as that can be said.
func (p *publisher) oracle(t testing.TB, head cid.Cid) view {
	t.Helper()
	var chain []*ad.Ad
	for c := head; c.Defined(); {
		a, err := ad.Decode(c, p.blocks[c])
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, a)
		c = a.Previous
	}
	found, md := map[ipni.Context]map[string]bool{}, map[ipni.Context]string{}
	for _, a := range slices.Backward(chain) {
		c := ipni.Context{Provider: a.Provider, ID: string(a.ContextID)}
		if a.Remove {
			delete(found, c)
			delete(md, c)
			continue
		}
		md[c] = string(a.Metadata)
		for next := a.Entries; next.Defined(); {
			e, err := ad.DecodeEntries(next, p.blocks[next])
			if err != nil {
				t.Fatal(err)
			}
			if found[c] == nil {
				found[c] = map[string]bool{}
			}
			for mh := range e.Multihashes.All() {
				found[c][string(mh)] = true
			}
			next = cid.Undef
			if len(e.Links) > 0 {
				next = e.Links[0]
			}
		}
	}
	return makeView(found, md)
}

func sortCIDs(all []cid.Cid) []cid.Cid {
	return slices.SortedFunc(slices.Values(all), func(a, b cid.Cid) int { return cmp.Compare(a.KeyString(), b.KeyString()) })
}

// errMissing is what a publisher says that has no such block.
var errMissing = fmt.Errorf("404: %w", fs.ErrNotExist)

func keys[K comparable, V any](m map[K]V) []K { return slices.Collect(maps.Keys(m)) }
