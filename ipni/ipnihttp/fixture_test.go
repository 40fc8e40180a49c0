package ipnihttp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// memory is an index in maps.
type memory struct {
	found     map[string][]ipni.Result
	sealed    map[dhash.Key][][]byte
	metadata  map[dhash.MetadataKey][]byte
	providers map[peer.ID]*model.ProviderInfo
	err       error         // comes after the results, if any
	step      chan struct{} // is received from after each result but the first
}

func newMemory() *memory {
	return &memory{
		found: map[string][]ipni.Result{}, sealed: map[dhash.Key][][]byte{},
		metadata: map[dhash.MetadataKey][]byte{}, providers: map[peer.ID]*model.ProviderInfo{},
	}
}

func all[T any](m *memory, values []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for i, v := range values {
			if i > 0 && m.step != nil {
				<-m.step
			}
			if !yield(v, nil) {
				return
			}
		}
		if m.err != nil {
			var none T
			yield(none, m.err)
		}
	}
}

func (m *memory) Find(_ context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return all(m, m.found[string(mh)])
}

func (m *memory) ValueKeys(_ context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return all(m, m.sealed[key])
}

func (m *memory) SealedMetadata(_ context.Context, key dhash.MetadataKey) ([]byte, error) {
	if v, ok := m.metadata[key]; ok {
		return v, m.err
	}
	if m.err != nil {
		return nil, m.err
	}
	return nil, fmt.Errorf("memory: metadata: %w", fs.ErrNotExist)
}

func (m *memory) Provider(_ context.Context, id peer.ID) (*model.ProviderInfo, error) {
	if p, ok := m.providers[id]; ok {
		return p, m.err
	}
	return nil, fmt.Errorf("memory: provider: %w", fs.ErrNotExist)
}

func (m *memory) Providers(context.Context) iter.Seq2[*model.ProviderInfo, error] {
	var list []*model.ProviderInfo
	for _, p := range m.providers {
		list = append(list, p)
	}
	return all(m, list)
}

func (m *memory) index() ipnihttp.Index {
	return ipnihttp.Index{Finder: m, Sealed: m, Providers: m}
}

// hash returns a multihash of its own for each n.
func hash(tb testing.TB, n int) multihash.Multihash {
	tb.Helper()
	mh, err := multihash.Sum(fmt.Append(nil, n), multihash.SHA2_256, -1)
	if err != nil {
		tb.Fatal(err)
	}
	return mh
}

// add makes provider n have mh.
func (m *memory) add(tb testing.TB, mh multihash.Multihash, n byte) ipni.Result {
	tb.Helper()
	r := ipni.Result{
		Provider:  peer.AddrInfo{ID: ipnitest.ID(n), Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/4001"), multiaddr.StringCast("/dns4/x.example/tcp/443/https/http-path/a%2Fb")}},
		ContextID: bytes.Repeat([]byte{n}, 36), Metadata: []byte{0x80, 0x12},
	}
	m.found[string(mh)] = append(m.found[string(mh)], r)
	vk := dhash.ValueKey(r.Provider.ID, r.ContextID)
	key := dhash.SecondHash(mh)
	m.sealed[key] = append(m.sealed[key], dhash.Seal(nil, vk, mh))
	m.metadata[dhash.HashValueKey(vk)] = dhash.Seal(nil, r.Metadata, vk)
	m.providers[r.Provider.ID] = &model.ProviderInfo{AddrInfo: r.Provider, LastAdvertisementTime: "2026-01-02T03:04:05Z"}
	return r
}

func serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.URL
}

// ask sends a request and returns the answer with its body; the error is of reading it.
func ask(tb testing.TB, method, url, accept, body string) (*http.Response, string, error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		tb.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res, string(data), err
}

func collect[T any](seq iter.Seq2[T, error]) (out []T, err error) {
	for v, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, v)
	}
	return out, nil
}
