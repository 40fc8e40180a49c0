package mirror_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/httpblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/mirror"
)

const peersFiles = "testdata/storetheindex/files"

// variants are the mirrors that storetheindex wrote.
var variants = []string{"flat", "split", "plain"}

// load copies a directory to a store in memory.
func load(t testing.TB, dir string) *memblob.Store {
	t.Helper()
	s := memblob.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		key, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return s.Put(t.Context(), filepath.ToSlash(key), f)
	})
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openMirror(t testing.TB, g blob.Getter, o *mirror.Options) *mirror.Mirror {
	t.Helper()
	m, err := mirror.Open(t.Context(), g, o)
	must(t, err)
	return m
}

// chainOf is what a chain gave: advertisements, newest first, and the blocks of their entries.
type chainOf struct {
	ads     []cid.Cid
	data    map[cid.Cid][]byte
	entries map[cid.Cid][]block.Block // by advertisement
	mhs     int
}

// walk reads a whole chain, and checks it with go-libipni: all advertisements first and then
// their entries, oldest first.
func walk(t testing.TB, c ipni.Chain) chainOf {
	t.Helper()
	got := chainOf{data: map[cid.Cid][]byte{}, entries: map[cid.Cid][]block.Block{}}
	at, err := c.Head(t.Context())
	must(t, err)
	for at.Defined() {
		b, err := c.Block(t.Context(), at, ipni.Advertisement)
		must(t, err)
		got.ads, got.data[at] = append(got.ads, at), b
		a, err := schema.BytesToAdvertisement(at, b)
		must(t, err)
		if _, err := a.VerifySignature(); err != nil {
			t.Fatal(err)
		}
		at = a.PreviousCid()
	}
	for _, id := range slices.Backward(got.ads) {
		a, err := schema.BytesToAdvertisement(id, got.data[id])
		must(t, err)
		for next := a.Entries; next != nil && next != schema.NoEntries; {
			at, err := cid.Decode(next.String())
			must(t, err)
			b, err := c.Block(t.Context(), at, ipni.EntryChunk)
			must(t, err)
			chunk, err := schema.BytesToEntryChunk(at, b)
			must(t, err)
			got.entries[id] = append(got.entries[id], block.Block{CID: at, Data: b})
			got.mhs += len(chunk.Entries)
			next = chunk.Next
		}
	}
	return got
}

// only reads the one chain in a mirror.
func only(t testing.TB, m *mirror.Mirror) chainOf {
	t.Helper()
	for h, err := range m.Heads(t.Context()) {
		must(t, err)
		c := m.Chain(h.Provider, nil, mirror.Only)
		defer c.Close()
		return walk(t, c)
	}
	t.Fatal("the mirror has no head")
	return chainOf{}
}

func TestFilesOfPeer(t *testing.T) {
	for _, name := range variants {
		t.Run(name, func(t *testing.T) {
			got := only(t, openMirror(t, load(t, filepath.Join(peersFiles, name)), nil))
			if len(got.ads) != 3 || got.mhs != 35 {
				t.Errorf("%d advertisements and %d multihashes, want 3 and 35", len(got.ads), got.mhs)
			}
		})
	}
}

// TestFilesForPeer writes the same content, which must give the same files.
func TestFilesForPeer(t *testing.T) {
	for _, name := range variants {
		t.Run(name, func(t *testing.T) {
			theirs := load(t, filepath.Join(peersFiles, name))
			o := &mirror.Options{Plain: name == "plain"}
			if name == "split" {
				o.PathSplit = []int{11, 2}
			}
			m := openMirror(t, theirs, nil)
			got := only(t, m)
			ours := memblob.New()
			w, err := mirror.OpenWriter(t.Context(), ours, o)
			must(t, err)
			for _, id := range slices.Backward(got.ads) {
				must(t, w.Store(t.Context(), id, got.data[id], blocks(got.entries[id])))
			}
			must(t, w.SetHead(t.Context(), headOf(t, m).Provider, got.ads[0]))
			want := contents(t, theirs)
			if name != "split" {
				delete(want, ".filestore-config.json") // where it is absent, names are not split
			}
			if diff := cmp.Diff(want, contents(t, ours)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func headOf(t testing.TB, m *mirror.Mirror) mirror.Head {
	t.Helper()
	for h, err := range m.Heads(t.Context()) {
		must(t, err)
		return h
	}
	t.Fatal("no head")
	return mirror.Head{}
}

// contents returns the objects of a store, without compression.
func contents(t testing.TB, s blob.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for info, err := range s.List(t.Context(), "") {
		must(t, err)
		b := read(t, s, info.Key)
		if strings.HasSuffix(info.Key, ".gz") {
			zip, err := gzip.NewReader(bytes.NewReader(b))
			must(t, err)
			b, err = io.ReadAll(zip)
			must(t, err)
		}
		all[info.Key] = string(b)
	}
	return all
}

func read(t testing.TB, s blob.Getter, key string) []byte {
	t.Helper()
	o, err := s.Get(t.Context(), key, 0, -1)
	must(t, err)
	defer o.Close()
	b, err := io.ReadAll(o)
	must(t, err)
	return b
}

func blocks(bs []block.Block) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		for _, b := range bs {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// publisher is a chain in memory, which knows the entries of each advertisement.
type publisher struct {
	*ipnitest.Chain
	owner map[cid.Cid][]block.Block
}

func newPublisher(seed byte) *publisher {
	key, _ := ipnitest.Key(seed)
	return &publisher{ipnitest.NewChain(key), map[cid.Cid][]block.Block{}}
}

// put appends an advertisement with chunks of so many multihashes.
func (p *publisher) put(t testing.TB, context string, sizes ...int) cid.Cid {
	t.Helper()
	var entries []block.Block
	next := cid.Undef
	for i, n := range sizes {
		var mhs ipni.Multihashes
		for j := range n {
			mh, err := multihash.Sum(fmt.Appendf(nil, "%s %s %d %d", p.ID, context, i, j), multihash.SHA2_256, -1)
			must(t, err)
			mhs = append(mhs, mh...)
		}
		c, b, err := ad.EncodeChunk(mhs, next)
		must(t, err)
		entries = append(entries, block.Block{CID: c, Data: b})
		next = c
	}
	slices.Reverse(entries)
	return p.advertise(t, context, next, entries)
}

func (p *publisher) advertise(t testing.TB, context string, root cid.Cid, entries []block.Block) cid.Cid {
	t.Helper()
	for _, e := range entries {
		p.Put(e.CID, e.Data)
	}
	c := p.Add(t, ad.Ad{Entries: root, ContextID: []byte(context), Metadata: []byte{0x80, 0x12}})
	p.owner[c] = entries
	return c
}

// record writes the whole chain to a mirror.
func (p *publisher) record(t testing.TB, w *mirror.Writer) {
	t.Helper()
	var ads []cid.Cid
	for at := p.Tip(); at.Defined(); {
		a, err := ad.Decode(at, p.Blocks()[at])
		must(t, err)
		ads = append(ads, at)
		at = a.Previous
	}
	for _, at := range slices.Backward(ads) {
		must(t, w.Store(t.Context(), at, p.Blocks()[at], blocks(p.owner[at])))
	}
	must(t, w.SetHead(t.Context(), p.ID, p.Tip()))
}

func openWriter(t testing.TB, s mirror.Store, o *mirror.Options) *mirror.Writer {
	t.Helper()
	w, err := mirror.OpenWriter(t.Context(), s, o)
	must(t, err)
	return w
}

func TestRebuild(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			s := memblob.New()
			w := openWriter(t, s, &mirror.Options{Plain: plain})
			want := map[peer.ID]int{}
			for seed := range byte(3) {
				p := newPublisher(seed)
				for i := range 5 {
					p.put(t, fmt.Sprint("context ", i), 100, 50, int(seed)+1)
				}
				p.put(t, "nothing")
				p.record(t, w)
				want[p.ID] = 5 * (151 + int(seed))
			}
			got := map[peer.ID]int{}
			m := openMirror(t, s, nil)
			for h, err := range m.Heads(t.Context()) {
				must(t, err)
				c := m.Chain(h.Provider, nil, mirror.Only)
				got[h.Provider] = walk(t, c).mhs
				must(t, c.Close())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOverHTTP(t *testing.T) {
	s := memblob.New()
	p := newPublisher(1)
	p.put(t, "a", 100, 20)
	p.put(t, "b", 10)
	p.record(t, openWriter(t, s, nil))
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		o, err := s.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), 0, -1)
		if err != nil {
			http.NotFound(rw, r)
			return
		}
		http.ServeContent(rw, r, "", o.Info().ModTime, o.(io.ReadSeeker))
	}))
	defer srv.Close()
	g, err := httpblob.New(srv.URL, nil)
	must(t, err)
	m := openMirror(t, g, nil)
	c := m.Chain(p.ID, nil, mirror.Only)
	defer c.Close()
	if got := walk(t, c); got.mhs != 130 {
		t.Errorf("%d multihashes", got.mhs)
	}
	for _, err := range m.Heads(t.Context()) {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("heads of a server: %v", err)
		}
	}
}

func TestHeads(t *testing.T) {
	s := memblob.New()
	w := openWriter(t, s, &mirror.Options{PathSplit: []int{11, 2}})
	p, q := newPublisher(1), newPublisher(2)
	for _, x := range []*publisher{p, q} {
		x.put(t, "a", 1)
		x.record(t, w)
	}
	name := q.ID.String()
	must(t, s.Put(t.Context(), name[:11]+"/"+name[11:13]+"/"+name+".head", strings.NewReader("no CID")))
	must(t, s.Put(t.Context(), name+".head", strings.NewReader("not where a head is")))
	must(t, s.Put(t.Context(), "1 something else.head", strings.NewReader("no provider")))
	good, bad := map[peer.ID]cid.Cid{}, map[peer.ID]bool{}
	for h, err := range w.Heads(t.Context()) {
		if err != nil {
			mismatch(t, err, name)
			bad[h.Provider] = true
			continue
		}
		good[h.Provider] = h.Ad
	}
	if want := (map[peer.ID]cid.Cid{p.ID: p.Tip()}); !maps.Equal(want, good) || !maps.Equal(bad, map[peer.ID]bool{q.ID: true}) {
		t.Errorf("heads %v, damaged %v", good, bad)
	}
	must(t, w.RemoveHead(t.Context(), p.ID))
	if _, err := w.Head(t.Context(), p.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("head that was removed: %v", err)
	}
}

func TestBadLayout(t *testing.T) {
	for _, text := range []string{"", "{", `{"Version":"v2"}`, `{"Version":"v1","PathSplit":[-1]}`, `{"Version":"v1","PathSplit":[9223372036854775807,1]}`, strings.Repeat(" ", 70<<10)} {
		s := memblob.New()
		must(t, s.Put(t.Context(), ".filestore-config.json", strings.NewReader(text)))
		_, err := mirror.Open(t.Context(), s, nil)
		mismatch(t, err, ".filestore-config.json")
	}
	if _, err := mirror.Open(t.Context(), memblob.New(), &mirror.Options{PathSplit: []int{0}}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("split of nothing: %v", err)
	}
	// What is not empty and does not say how it is laid out is flat.
	s := memblob.New()
	p := newPublisher(1)
	p.put(t, "a", 1)
	p.record(t, openWriter(t, s, nil))
	w := openWriter(t, s, &mirror.Options{PathSplit: []int{11, 2}})
	if got, err := w.Head(t.Context(), p.ID); err != nil || got != p.Tip() {
		t.Errorf("head %v, %v", got, err)
	}
}
