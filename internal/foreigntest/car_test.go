package foreigntest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-unixfsnode"
	carv2 "github.com/ipld/go-car/v2"
	carstore "github.com/ipld/go-car/v2/blockstore"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime"
	_ "github.com/ipld/go-ipld-prime/codec/dagcbor" // links in fixtures
	_ "github.com/ipld/go-ipld-prime/codec/raw"     // leaves
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/linking"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/ipld/go-ipld-prime/traversal/selector"
	"github.com/ipld/go-ipld-prime/traversal/selector/builder"
)

// readCAR has go-car read an archive, which verifies every block.
func readCAR(t *testing.T, archive []byte) (roots []cid.Cid, order []string) {
	t.Helper()
	r, err := carv2.NewBlockReader(bytes.NewReader(archive), carv2.WithTrustedCAR(false))
	must(t, err)
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Roots, order
		}
		must(t, err)
		order = append(order, b.Cid().String())
	}
}

// scopes are the selectors that other gateways use for dag-scope.
func scopes() map[string]builder.SelectorSpec {
	b := builder.NewSelectorSpecBuilder(basicnode.Prototype.Any)
	return map[string]builder.SelectorSpec{
		"block":  b.Matcher(),
		"entity": unixfsnode.MatchUnixFSEntitySelector,
		"all":    unixfsnode.ExploreAllRecursivelySelector,
	}
}

// traverse returns the blocks that go-ipld-prime loads for a selector, in order.
func traverse(t *testing.T, store *carstore.ReadOnly, root cid.Cid, sel datamodel.Node, dups bool) []string {
	t.Helper()
	var order []string
	seen := map[cid.Cid]bool{}
	links := cidlink.DefaultLinkSystem()
	links.TrustedStorage = true // go-car has verified it
	links.StorageReadOpener = func(_ linking.LinkContext, l datamodel.Link) (io.Reader, error) {
		c := l.(cidlink.Link).Cid
		if dups || !seen[c] {
			seen[c] = true
			order = append(order, c.String())
		}
		b, err := store.Get(t.Context(), c)
		if err != nil {
			return nil, err
		}
		return bytes.NewReader(b.RawData()), nil
	}
	unixfsnode.AddUnixFSReificationToLinkSystem(&links)
	choose := dagpb.AddSupportToChooser(func(datamodel.Link, linking.LinkContext) (datamodel.NodePrototype, error) {
		return basicnode.Prototype.Any, nil
	})
	proto, err := choose(cidlink.Link{Cid: root}, linking.LinkContext{})
	must(t, err)
	node, err := links.Load(ipld.LinkContext{}, cidlink.Link{Cid: root}, proto)
	must(t, err)
	compiled, err := selector.CompileSelector(sel)
	must(t, err)
	p := traversal.Progress{Cfg: &traversal.Config{Ctx: t.Context(), LinkSystem: links, LinkTargetNodePrototypeChooser: choose}}
	must(t, p.WalkMatching(node, compiled, unixfsnode.BytesConsumingMatcher))
	return order
}

// checkOrder compares the node's CARs of a path with the selector's traversal.
func checkOrder(t *testing.T, n *running, root, path string, kinds ...string) {
	t.Helper()
	c := cid.MustParse(root)
	whole, err := carstore.NewReadOnly(bytes.NewReader(n.get(t, "/ipfs/"+root+"?format=car")), nil, carv2.UseWholeCIDs(true))
	must(t, err)
	for _, kind := range kinds {
		sel := unixfsnode.UnixFSPathSelectorBuilder(path, scopes()[kind], false)
		for _, dups := range []bool{true, false} {
			yes := map[bool]string{true: "y", false: "n"}[dups]
			u := strings.TrimSuffix("/ipfs/"+root+"/"+(&url.URL{Path: path}).EscapedPath(), "/") + "?format=car&dag-scope=" + kind + "&car-dups=" + yes
			roots, got := readCAR(t, n.get(t, u))
			if len(roots) != 1 || roots[0] != c {
				t.Errorf("%s: roots %v", u, roots)
			}
			if diff := cmp.Diff(traverse(t, whole, c, sel, dups), got); diff != "" {
				t.Errorf("%s (-selector +hashstream):\n%s", u, diff)
			}
		}
	}
}

func TestOrderOfSelectors(t *testing.T) {
	t.Parallel()
	n := start(t, false)
	dir, _ := site(t)
	for _, profile := range []string{"v1", "v0", "small packs"} {
		t.Run(profile, func(t *testing.T) {
			root := n.add(t, dir, profiles()[profile]...)
			for _, path := range []string{"", "big.bin", "zeros", "empty", "one", "nested", "nested/copy.bin", "nothing", "many", "many/" + manyName(7), "www", "link", awkward} {
				checkOrder(t, n, root, path, "block", "entity", "all")
			}
		})
	}
}

func TestRangesOfSelectors(t *testing.T) {
	t.Parallel()
	n := start(t, false)
	dir, contents := site(t)
	root := n.add(t, dir, "--chunk-size", "50000")
	c := cid.MustParse(root)
	whole, err := carstore.NewReadOnly(bytes.NewReader(n.get(t, "/ipfs/"+root+"?format=car")), nil, carv2.UseWholeCIDs(true))
	must(t, err)
	size := int64(len(contents["big.bin"]))
	for _, r := range [][2]int64{{0, 0}, {0, 49_999}, {0, 50_000}, {49_999, 50_000}, {777_777, 1_234_567}, {size - 1, size - 1}, {size - 100_001, size - 1}} {
		sel := unixfsnode.UnixFSPathSelectorBuilder("nested/copy.bin", sliceOf(r[0], r[1]+1), false)
		want := traverse(t, whole, c, sel, false)
		for _, spelled := range []string{fmt.Sprintf("%d:%d", r[0], r[1]), fmt.Sprintf("%d:%d", r[0], r[1]-size), fmt.Sprintf("%d:%d", r[0]-size, r[1])} {
			_, got := readCAR(t, n.get(t, "/ipfs/"+root+"/nested/copy.bin?format=car&entity-bytes="+spelled))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("entity-bytes=%s (-selector +hashstream):\n%s", spelled, diff)
			}
		}
	}
}

// sliceOf selects the blocks of some bytes of a file.
func sliceOf(from, to int64) builder.SelectorSpec {
	b := builder.NewSelectorSpecBuilder(basicnode.Prototype.Any)
	return b.ExploreInterpretAs("unixfs", b.MatcherSubset(from, to))
}
