package scatter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/scatter"
)

var errServer = errors.New("status 500")

// indexer is a backend that does as it is told.
type indexer struct {
	results []string      // "provider context metadata"
	values  []string      // encrypted value keys
	pause   time.Duration // before each result
	hang    bool          // after the results, until the context ends
	deaf    chan struct{} // with hang: until it is closed
	err     error         // after the results
	asked   *int
	infos   []*model.ProviderInfo
}

// play yields all and then does what is wrong with x.
func play[T any](ctx context.Context, x *indexer, all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if x.asked != nil {
			*x.asked++
		}
		for _, v := range all {
			if x.pause > 0 {
				time.Sleep(x.pause)
			}
			if !yield(v, nil) {
				return
			}
		}
		switch {
		case x.deaf != nil:
			<-x.deaf
		case x.hang:
			<-ctx.Done()
			yield(none, context.Cause(ctx))
		case x.err != nil:
			yield(none, x.err)
		}
	}
}

func (x *indexer) Find(ctx context.Context, _ multihash.Multihash) iter.Seq2[ipni.Result, error] {
	var all []ipni.Result
	for _, r := range x.results {
		var provider, id, metadata string
		fmt.Sscan(r, &provider, &id, &metadata)
		all = append(all, ipni.Result{Provider: peer.AddrInfo{ID: peer.ID(provider)}, ContextID: []byte(id), Metadata: []byte(metadata)})
	}
	return play(ctx, x, all)
}

func (x *indexer) ValueKeys(ctx context.Context, _ dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte // is used again, as the contract allows
		for v, err := range play(ctx, x, x.values) {
			buf = append(buf[:0], v...)
			if !yield(buf, err) {
				return
			}
		}
	}
}

func (x *indexer) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	for v, err := range play(ctx, x, x.values) {
		return []byte(v), err
	}
	return nil, fs.ErrNotExist
}

func (x *indexer) Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error) {
	for i, err := range play(ctx, x, x.infos) {
		if err != nil || i.AddrInfo.ID == id {
			return i, err
		}
	}
	return nil, fs.ErrNotExist
}

func (x *indexer) All(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return play(ctx, x, x.infos)
}

// of returns a Scatter over indexers of a class.
func of(t testing.TB, class scatter.Class, o *scatter.Options, all ...*indexer) *scatter.Scatter {
	t.Helper()
	s := scatter.New(o)
	if err := s.Set(backends(class, all...)); err != nil {
		t.Fatal(err)
	}
	return s
}

func backends(class scatter.Class, all ...*indexer) (list []scatter.Backend) {
	for i, x := range all {
		list = append(list, scatter.Backend{Name: fmt.Sprint(i), Class: class, Finder: x, Sealed: x, Directory: x})
	}
	return list
}

// found returns what f finds, sorted, and the error at the end.
func found(ctx context.Context, f ipni.Finder) (all []string, end error) {
	for r, err := range f.Find(ctx, nil) {
		if err != nil {
			end = err
			break
		}
		all = append(all, fmt.Sprintf("%s %s %s", string(r.Provider.ID), r.ContextID, r.Metadata))
	}
	slices.Sort(all)
	return all, end
}

func Example() {
	s := scatter.New(nil)
	s.Set([]scatter.Backend{{Name: "example", Class: scatter.Plain, Finder: &indexer{results: []string{"peer context metadata"}}}})
	for r, err := range s.Find(context.Background(), nil) {
		fmt.Println(string(r.Provider.ID), string(r.ContextID), err)
	}
	// Output: peer context <nil>
}

func TestFind(t *testing.T) {
	tests := []struct {
		name string
		all  []*indexer
		want []string
		end  error
		late bool
	}{
		{name: "nobody"},
		{name: "all say no", all: []*indexer{{}, {}, {err: fs.ErrNotExist}}},
		// A duplicate must not drop what follows it.
		{name: "duplicates", all: []*indexer{{results: []string{"p a m", "p a m", "p b m"}}, {results: []string{"p a m", "q a m", "p a n"}}},
			want: []string{"p a m", "p a n", "p b m", "q a m"}},
		// The parts of what is compared are kept apart.
		{name: "not duplicates", all: []*indexer{{results: []string{"p ab c", "pa b c", "p a bc"}}}, want: []string{"p a bc", "p ab c", "pa b c"}},
		// Time, server errors and lost connections are no absence.
		{name: "one fails", all: []*indexer{{}, {err: errServer}}, end: scatter.ErrUnavailable},
		{name: "one is late", all: []*indexer{{}, {hang: true}}, end: scatter.ErrUnavailable, late: true},
		{name: "one is deaf", all: []*indexer{{}, {deaf: make(chan struct{})}}, end: scatter.ErrUnavailable, late: true},
		{name: "one is too slow", all: []*indexer{{}, {results: []string{"p a m"}, pause: 6 * time.Second}}, end: scatter.ErrUnavailable, late: true},
		{name: "some and a failure", all: []*indexer{{results: []string{"p a m"}}, {results: []string{"q a m"}, err: errServer}},
			want: []string{"p a m", "q a m"}, end: ipni.ErrIncomplete},
		{name: "some and one late", all: []*indexer{{results: []string{"p a m"}}, {hang: true}}, want: []string{"p a m"}, end: ipni.ErrIncomplete, late: true},
		{name: "the wait is for all", all: []*indexer{{results: []string{"p a m", "p b m"}, pause: 2 * time.Second}, {hang: true}}, want: []string{"p a m", "p b m"}, end: ipni.ErrIncomplete, late: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, x := range test.all {
					if x.deaf != nil {
						x.deaf = make(chan struct{})
						defer close(x.deaf)
					}
				}
				s := of(t, scatter.Plain, nil, test.all...)
				start := time.Now()
				got, end := found(t.Context(), s)
				if diff := cmp.Diff(test.want, got); diff != "" || !errors.Is(end, test.end) || errors.Is(end, fs.ErrNotExist) {
					t.Fatalf("error %v, want %v; %s", end, test.end, diff)
				}
				if errors.Is(end, context.DeadlineExceeded) != test.late || time.Since(start) > 5*time.Second {
					t.Fatalf("error %v after %v", end, time.Since(start))
				}
				time.Sleep(time.Minute) // until the slow have ended
			})
		})
	}
}

// Results come when they come, not when the slowest backend has answered.
func TestStreaming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, scatter.Plain, nil, &indexer{results: []string{"p a m"}}, &indexer{results: []string{"q a m"}, pause: 3 * time.Second}, &indexer{hang: true})
		start := time.Now()
		var times []time.Duration
		for _, err := range s.Find(t.Context(), nil) {
			times = append(times, time.Since(start))
			if err == nil {
				time.Sleep(time.Hour) // a slow reader is not the fault of anybody
				start = start.Add(time.Hour)
			}
		}
		if len(times) != 3 || times[0] != 0 || times[1] > 3*time.Second || times[2] > 5*time.Second {
			t.Fatalf("%v", times)
		}
	})
}

func TestStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, scatter.Plain, &scatter.Options{Breaker: breaker.Options{Failures: 1}}, &indexer{results: []string{"p a m", "p b m"}}, &indexer{hang: true})
		for range s.Find(t.Context(), nil) {
			break
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := found(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, b := range s.Backends() {
			if b.Breaker != breaker.Closed {
				t.Fatal("a breaker opened because the reader went away")
			}
		}
	})
}

func TestMax(t *testing.T) {
	s := of(t, scatter.Plain, &scatter.Options{Max: 2}, &indexer{results: []string{"p a m", "p b m", "p c m"}})
	if got, err := found(t.Context(), s); len(got) != 2 || !errors.Is(err, ipni.ErrIncomplete) {
		t.Fatal(got, err)
	}
}

func TestEncrypted(t *testing.T) {
	s := of(t, scatter.Encrypted, nil, &indexer{values: []string{"a", "b"}}, &indexer{values: []string{"b", "a", "c"}})
	var got []string
	for v, err := range s.ValueKeys(t.Context(), dhash.Key{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(v))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Fatal(diff)
	}
	s = of(t, scatter.Encrypted, nil, &indexer{err: errServer}, &indexer{values: []string{"metadata"}})
	if m, err := s.SealedMetadata(t.Context(), dhash.MetadataKey{}); err != nil || string(m) != "metadata" {
		t.Fatal(string(m), err)
	}
	s = of(t, scatter.Encrypted, nil, &indexer{err: errServer}, &indexer{})
	if _, err := s.SealedMetadata(t.Context(), dhash.MetadataKey{}); !errors.Is(err, scatter.ErrUnavailable) {
		t.Fatal(err)
	}
	s = of(t, scatter.Encrypted, nil, &indexer{}, &indexer{})
	if _, err := s.SealedMetadata(t.Context(), dhash.MetadataKey{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	s = of(t, scatter.Encrypted, nil, &indexer{values: []string{string(bytes.Repeat([]byte("x"), 5000))}})
	for _, err := range s.ValueKeys(t.Context(), dhash.Key{}) {
		if !errors.Is(err, scatter.ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

func TestProviders(t *testing.T) {
	info := func(id, at string) *model.ProviderInfo {
		return &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: peer.ID(id)}, LastAdvertisementTime: at}
	}
	s := of(t, scatter.Providers, nil,
		&indexer{infos: []*model.ProviderInfo{info("p", "2024-01-01T12:00:00Z"), info("q", "")}},
		&indexer{infos: []*model.ProviderInfo{info("p", "2024-01-01T14:00:00+03:00"), info("q", "2020-01-01T00:00:00Z")}},
		&indexer{err: errServer})
	for id, want := range map[peer.ID]string{"p": "2024-01-01T12:00:00Z", "q": "2020-01-01T00:00:00Z"} {
		if got, err := s.Provider(t.Context(), id); err != nil || got.LastAdvertisementTime != want {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	if _, err := s.Provider(t.Context(), "r"); !errors.Is(err, scatter.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	n := 0
	for _, err := range s.All(t.Context()) {
		if n++; n == 3 && !errors.Is(err, ipni.ErrIncomplete) {
			t.Error(err)
		}
	}
	if n != 3 {
		t.Errorf("%d", n)
	}
	s = of(t, scatter.Providers, nil, &indexer{}, &indexer{infos: []*model.ProviderInfo{info("p", "")}})
	if _, err := s.Provider(t.Context(), "r"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestCascade(t *testing.T) {
	s := scatter.New(nil)
	plain, dht, legacy := &indexer{results: []string{"p a m"}}, &indexer{results: []string{"d a m"}}, &indexer{results: []string{"l a m"}}
	err := s.Set([]scatter.Backend{
		{Name: "p", Class: scatter.Plain, Finder: plain},
		{Name: "d", Class: scatter.Cascade, Label: "ipfs-dht", Finder: dht},
		{Name: "l", Class: scatter.Cascade, Label: "legacy", Finder: legacy},
	})
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string][]string{"ipfs-dht": {"d a m"}, "legacy": {"l a m"}, "ipfs": nil, "": nil} {
		if got, err := found(t.Context(), s.Cascade(label)); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %q, %v", label, got, err)
		}
	}
	if diff := cmp.Diff([]string{"ipfs-dht", "legacy"}, s.Labels()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []scatter.Backend{
		{Name: "x", Class: scatter.Cascade, Finder: dht}, {Name: "x", Class: scatter.Plain, Label: "y", Finder: dht},
		{Name: "x", Class: scatter.Plain}, {Class: scatter.Plain, Finder: dht}, {Name: "x", Class: "other", Finder: dht},
	} {
		if err := s.Set([]scatter.Backend{bad}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Breakers open for whatever keeps a backend from answering, and close again.
func TestBreaker(t *testing.T) {
	for name, fault := range map[string]indexer{"error": {err: errServer}, "late": {hang: true}, "deaf": {deaf: make(chan struct{})}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				x := fault
				x.asked = &asked
				if x.deaf != nil {
					x.deaf = make(chan struct{})
				}
				s := of(t, scatter.Plain, &scatter.Options{Breaker: breaker.Options{Failures: 3}}, &indexer{}, &x)
				for range 3 {
					if _, err := found(t.Context(), s); !errors.Is(err, scatter.ErrUnavailable) {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				if got := s.Backends()[1].Breaker; got != breaker.Open {
					t.Fatalf("%v after three failures", got)
				}
				if x.deaf != nil {
					close(x.deaf)
				}
				healed := indexer{asked: &asked}
				if err := s.Set(backends(scatter.Plain, &indexer{}, &healed)); err != nil { // the breaker stays
					t.Fatal(err)
				}
				before := asked
				if _, err := found(t.Context(), s); !errors.Is(err, scatter.ErrUnavailable) || asked != before {
					t.Fatalf("an open breaker: asked %d times, %v", asked-before, err)
				}
				time.Sleep(time.Minute)
				if _, err := found(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := s.Backends()[1].Breaker; got != breaker.Closed {
					t.Fatalf("%v after an answer", got)
				}
			})
		})
	}
}

// Backends are replaced while they are asked.
func TestReload(t *testing.T) {
	s := of(t, scatter.Plain, nil, &indexer{results: []string{"p a m"}})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				if got, err := found(t.Context(), s); err != nil || len(got) == 0 {
					t.Error(got, err)
				}
			}
		})
		all.Go(func() {
			for i := range 500 {
				list := []*indexer{{results: []string{"p a m"}}, {results: []string{"q a m"}}}
				if err := s.Set(backends(scatter.Plain, list[:1+i%2]...)); err != nil {
					t.Error(err)
				}
				s.Backends()
			}
		})
	}
	all.Wait()
}
