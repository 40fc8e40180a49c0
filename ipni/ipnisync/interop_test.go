package ipnisync_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	selectorparse "github.com/ipld/go-ipld-prime/traversal/selector/parse"
	theirs "github.com/ipni/go-libipni/dagsync/ipnisync"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// compareCIDs lets cmp look at CIDs.
var compareCIDs = cmp.Comparer(func(a, b cid.Cid) bool { return a == b })

func TestForeignServer(t *testing.T) {
	key, id := ipnitest.Key(1)
	_, other := ipnitest.Key(2)
	chain := newChain(t, 5)
	for _, path := range []string{"", "/some/path"} {
		t.Run(path, func(t *testing.T) {
			system, _ := ipnitest.LinkSystem(chain.Blocks())
			var hints []string
			open := system.StorageReadOpener
			system.StorageReadOpener = func(lc ipld.LinkContext, l datamodel.Link) (io.Reader, error) {
				if lc.Ctx != nil {
					hint, _ := theirs.CidSchemaFromCtx(lc.Ctx)
					hints = append(hints, hint)
				}
				r, err := open(lc, l)
				if err != nil {
					return nil, ipld.ErrNotExists{} // as publishers do
				}
				return r, nil
			}
			pub, err := theirs.NewPublisher(system, key, theirs.WithHTTPListenAddrs("127.0.0.1:0"), theirs.WithHandlerPath(path), theirs.WithHeadTopic("/topic"))
			if err != nil {
				t.Fatal(err)
			}
			defer pub.Close()
			info := peer.AddrInfo{ID: id}
			for _, a := range pub.Addrs() {
				if path != "" {
					a = multiaddr.Join(a, multiaddr.StringCast("/http-path/"+strings.ReplaceAll(path[1:], "/", "%2F")))
				}
				info.Addrs = append(info.Addrs, a)
			}
			open2 := func(id peer.ID, topic string) *ipnisync.Client {
				c, err := ipnisync.New(peer.AddrInfo{ID: id, Addrs: info.Addrs}, &ipnisync.Options{AllowPrivate: true, Topic: topic})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				return c
			}
			c := open2(id, "")
			if head, err := c.Head(t.Context()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("no head: %s, %v", head, err)
			}
			pub.SetRoot(chain.Tip())
			if diff := cmp.Diff(chain.Blocks(), readChain(t, c), compareCIDs); diff != "" {
				t.Error(diff)
			}
			if len(hints) != 10 || hints[0] != theirs.CidSchemaAdvertisement || hints[1] != theirs.CidSchemaEntryChunk {
				t.Errorf("hints: %v", hints)
			}
			d, err := digest.Sum(digest.SHA256, []byte("missing"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Block(t.Context(), d.CID(cid.DagJSON), ipni.EntryChunk); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing block: %v", err)
			}
			if _, err := open2(id, "/topic").Head(t.Context()); err != nil {
				t.Error(err)
			}
			if head, err := open2(id, "/other").Head(t.Context()); !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("head of another topic: %s, %v", head, err)
			}
			if head, err := open2(other, "").Head(t.Context()); !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("head of another publisher: %s, %v", head, err)
			}
		})
	}
}

func TestForeignClient(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 5)
	h := ipnisync.Handler(chain, key, &ipnisync.HandlerOptions{Topic: "/topic"})
	below := http.NewServeMux()
	below.Handle("/some/path/", http.StripPrefix("/some/path", h))
	old := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // serves nothing below the path of the protocol
		if strings.HasPrefix(r.URL.Path, ipnisync.Path) {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
	for name, base := range map[string]string{
		"root": newServer(t, h).URL, "below": newServer(t, below).URL + "/some/path", "old": newServer(t, old).URL,
	} {
		t.Run(name, func(t *testing.T) {
			system, store := ipnitest.LinkSystem(nil)
			sync := theirs.NewSync(system, nil)
			defer sync.Close()
			syncer, err := sync.NewSyncer(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{addr(t, base)}})
			if err != nil {
				t.Fatal(err)
			}
			head, err := syncer.GetHead(t.Context())
			if err != nil || head != chain.Tip() {
				t.Fatalf("%s, %v, want %s", head, err, chain.Tip())
			}
			ctx, err := theirs.CtxWithCidSchema(t.Context(), theirs.CidSchemaAdvertisement)
			if err != nil {
				t.Fatal(err)
			}
			if err := syncer.Sync(ctx, head, allAds()); err != nil {
				t.Fatal(err)
			}
			for c, want := range chain.Blocks() {
				if got := store.Bag[c.KeyString()]; string(got) != string(want) {
					t.Errorf("%s: %q, want %q", c, got, want)
				}
			}
			if err := syncer.Sync(ctx, cidlink.Link{Cid: cid.MustParse("bafkreehdwdcefgh4dqkjv67uzcmw7oje")}.Cid, allAds()); err == nil || !strings.Contains(err.Error(), "content not found") {
				t.Errorf("a missing block: %v", err)
			}
		})
	}
	if asked := chain.Asked(); len(asked) == 0 || asked[0].Kind != ipni.Advertisement {
		t.Errorf("asked for %v", asked)
	}
}

// Both ends of this package, in both codecs and in each form of paths.
func TestBothEnds(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 3)
	h := ipnisync.Handler(chain, key, nil)
	c := newClient(t, id, ipnisync.Options{}, newServer(t, h).URL)
	if diff := cmp.Diff(chain.Blocks(), readChain(t, c), compareCIDs); diff != "" {
		t.Error(diff)
	}
}

// allAds selects all that is reached by links.
func allAds() ipld.Node {
	return selectorparse.CommonSelector_ExploreAllRecursively
}
