package storehttp_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

type record struct {
	group ipni.SealedGroup
	key   dhash.Key
	value string
}

// memory is a store in maps.
type memory struct {
	mu       sync.Mutex
	records  map[record]bool
	metadata map[dhash.MetadataKey][]byte
	puts     int
	err      error // of writes from the failFrom'th on, and of reads after their results
	failFrom int
}

func newMemory() *memory {
	return &memory{records: map[record]bool{}, metadata: map[dhash.MetadataKey][]byte{}}
}

func (m *memory) change(g ipni.SealedGroup, records valuestore.Records, f func(record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	if m.err != nil && m.puts > m.failFrom {
		return m.err
	}
	for e, err := range records.All() {
		if err != nil {
			return err
		}
		f(record{g, e.Key, string(e.Value)})
	}
	return nil
}

func (m *memory) PutSealed(_ context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return m.change(g, records, func(r record) { m.records[r] = true })
}

func (m *memory) DeleteSealed(_ context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return m.change(g, records, func(r record) { delete(m.records, r) })
}

func (m *memory) RemoveSealed(_ context.Context, provider ipni.ProviderTag, only *dhash.MetadataKey, before uint64) error {
	return m.change(ipni.SealedGroup{}, nil, func(record) {}) // counts
}

func (m *memory) PutSealedMetadata(_ context.Context, key dhash.MetadataKey, sealed []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.metadata[key] = bytes.Clone(sealed); sealed == nil {
		delete(m.metadata, key)
	}
	return nil
}

func (m *memory) ValueKeys(_ context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	m.mu.Lock()
	var values []string
	for r := range m.records {
		if r.key == key {
			values = append(values, r.value)
		}
	}
	err := m.err
	m.mu.Unlock()
	slices.Sort(values)
	return func(yield func([]byte, error) bool) {
		for _, v := range slices.Compact(values) {
			if !yield([]byte(v), nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func (m *memory) SealedMetadata(_ context.Context, key dhash.MetadataKey) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.metadata[key]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("memory: %w", fs.ErrNotExist)
}

// ExportSealed and ExportMetadata implement cluster.Exporter.
func (m *memory) ExportSealed(_ context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	m.mu.Lock()
	var all []cluster.Record
	for x := range m.records {
		if r.Contains(x.key) {
			all = append(all, cluster.Record{Group: x.group, Key: x.key, Value: []byte(x.value)})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, compareRecords)
	return yields(all, m.err)
}

func (m *memory) ExportMetadata(_ context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	m.mu.Lock()
	var all []cluster.Metadata
	for k, v := range m.metadata {
		if r.Contains(dhash.Key(k)) {
			all = append(all, cluster.Metadata{Key: k, Sealed: v})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b cluster.Metadata) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return yields(all, m.err)
}

func yields[T any](all []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range all {
			if !yield(x, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// compareRecords is the order of exports.
func compareRecords(a, b cluster.Record) int {
	if c := bytes.Compare(a.Key[:], b.Key[:]); c != 0 {
		return c
	}
	return cmp.Or(
		bytes.Compare(a.Value, b.Value), bytes.Compare(a.Group.Provider[:], b.Group.Provider[:]),
		bytes.Compare(a.Group.Context[:], b.Group.Context[:]), cmp.Compare(a.Group.Epoch, b.Group.Epoch))
}

// everybody allows all.
func everybody(*http.Request) error { return nil }

// node serves m as a node does: records, and lookups.
func node(tb testing.TB, m *memory, o *storehttp.Options) string {
	tb.Helper()
	if o == nil {
		o = &storehttp.Options{Authorize: everybody}
	}
	o.Exporter = m
	o.Reads = ipnihttp.New(ipnihttp.Index{Sealed: m}, nil)
	s := httptest.NewServer(storehttp.New(m, o))
	tb.Cleanup(s.Close)
	return s.URL
}

func newClient(tb testing.TB, url string, o *storehttp.ClientOptions) *storehttp.Client {
	tb.Helper()
	if o == nil {
		o = &storehttp.ClientOptions{}
	}
	if o.Retries == 0 {
		o.Retries = -1
	}
	c, err := storehttp.NewClient(url, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// records returns n of them, each under a key of its own.
func records(n int) valuestore.Records {
	var r valuestore.Records
	for i := range n {
		r = r.Append(dhash.SecondHash(fmt.Append(nil, i)), bytes.Repeat([]byte{byte(i)}, 102))
	}
	return r
}

func group(n byte) ipni.SealedGroup {
	return ipni.SealedGroup{Provider: ipni.ProviderTag{n}, Context: dhash.MetadataKey{n, 1}, Epoch: uint64(n) + 1<<40}
}

func collect[T any](seq iter.Seq2[T, error], clone func(T) T) (out []T, err error) {
	for v, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, clone(v))
	}
	return out, nil
}

func transport(rt http.RoundTripper) wire.CallerOptions { return wire.CallerOptions{Transport: rt} }
