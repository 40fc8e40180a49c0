package unixfs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

// dirOf returns boxo's and our directory of names; entry i claims tsize(i) bytes.
func dirOf(t *testing.T, p unixfs.Profile, names []string, tsize func(int) uint64) (shape *unixfs.DirNode, ours block.Block, boxo ipld.Node) {
	t.Helper()
	entries, cids, nodes := make([]unixfs.DirEntry, len(names)), make([]cid.Cid, len(names)), make([]ipld.Node, len(names))
	for i, name := range names {
		raw, err := merkledag.NewRawNodeWPrefix(fmt.Append(nil, i%1000), boxoBuilder(p))
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = sized{raw, tsize(i)}
		cids[i] = raw.Cid()
		entries[i] = unixfs.DirEntry{Name: name, Tsize: tsize(i), CIDLen: raw.Cid().ByteLen()}
	}
	dserv, boxo := boxoDir(t, p, names, nodes)
	shape, err := p.Directory(entries)
	if err != nil {
		t.Fatal(err)
	}
	ours = buildDir(t, p, shape, entries, cids, func(b block.Block) {
		if !b.CID.Equals(boxo.Cid()) {
			mustGet(t.Context(), t, dserv, b.CID)
		}
	})
	return shape, ours, boxo
}

func numbered(n int, format string) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(format, i)
	}
	return names
}

// deep are names whose murmur3 hashes begin with the same 24 bits, found by search.
func deep(t *testing.T, want int) []string {
	t.Helper()
	seen := map[uint64][]string{}
	for i := range 40000 {
		name := fmt.Sprintf("deep-%d", i)
		key := unixfs.NameHash(name) >> 40
		seen[key] = append(seen[key], name)
	}
	var names []string
	for i := range 40000 {
		if same := seen[unixfs.NameHash(fmt.Sprintf("deep-%d", i))>>40]; len(same) > 1 && same[0] == fmt.Sprintf("deep-%d", i) {
			names = append(names, same...)
		}
	}
	if len(names) < want {
		t.Fatalf("found %d names that collide, want %d", len(names), want)
	}
	return names
}

func TestDirectoriesLikeBoxo(t *testing.T) {
	sets := map[string][]string{
		"empty": nil,
		"one":   {"a"},
		"few":   {"b", "a", "ä", "日本語.txt", "B", "a b", "%41", "a.", "\xff\xfe"},
		"long":  {strings.Repeat("x", 255), strings.Repeat("é", 120), "short"},
		"many":  numbered(3000, "file-%d.txt"),
		"deep":  append(deep(t, 10), numbered(500, "%d")...),
	}
	shapes := map[string]func(*unixfs.Profile){
		"profile":     nil,
		"sharded":     func(p *unixfs.Profile) { p.HAMTThreshold = 1 },
		"fanout 8":    func(p *unixfs.Profile) { p.HAMTThreshold, p.HAMTFanout = 100, 8 },
		"fanout 1024": func(p *unixfs.Profile) { p.HAMTThreshold, p.HAMTFanout = 100, 1024 },
		"blake3":      func(p *unixfs.Profile) { p.HAMTThreshold, p.CIDVersion, p.Hash = 9000, 1, digest.BLAKE3 },
	}
	for _, base := range []string{unixfs.V1, unixfs.V0} {
		for shape, change := range shapes {
			p := profile(t, base, change)
			for set, names := range sets {
				t.Run(base+"/"+shape+"/"+set, func(t *testing.T) {
					_, ours, boxo := dirOf(t, p, names, func(i int) uint64 { return uint64(i) * uint64(i) * 1000 })
					if !ours.CID.Equals(boxo.Cid()) {
						t.Fatalf("directory %s, boxo says %s", ours.CID, boxo.Cid())
					}
				})
			}
		}
	}
}

// The threshold itself stays one block; one byte more is sharded.
func TestThresholdLikeBoxo(t *testing.T) {
	for _, base := range []string{unixfs.V1, unixfs.V0} {
		p := profile(t, base, nil)
		names := numbered(4000, "name-%06d")
		_, whole, _ := dirOf(t, profile(t, base, func(p *unixfs.Profile) { p.HAMTThreshold = unixfs.MaxHAMTThreshold }), names, small)
		estimate := len(whole.Data)
		if p.HAMTEstimate == unixfs.LinksBytes {
			estimate = len(names) * (len(names[0]) + 36) // raw children: 36 bytes of CID
		}
		for delta, sharded := range map[int]bool{-1: true, 0: false, 1: false} {
			p.HAMTThreshold = estimate + delta
			shape, ours, boxo := dirOf(t, p, names, small)
			if !ours.CID.Equals(boxo.Cid()) {
				t.Errorf("%s threshold %+d: %s, boxo says %s", base, delta, ours.CID, boxo.Cid())
			}
			if shape.Sharded() != sharded {
				t.Errorf("%s threshold %+d: sharded is %t", base, delta, shape.Sharded())
			}
		}
		// The same edge at the profile's own threshold, reached by the length of one name.
		p = profile(t, base, nil)
		for _, extra := range []int{0, 1} {
			names := append(names[:3900:3900], filler(p, names[:3900], extra)...)
			shape, ours, boxo := dirOf(t, p, names, small)
			if !ours.CID.Equals(boxo.Cid()) {
				t.Errorf("%s at 256 KiB + %d: %s, boxo says %s", base, extra, ours.CID, boxo.Cid())
			}
			if shape.Sharded() != (extra > 0) {
				t.Errorf("%s at 256 KiB + %d: sharded is %t", base, extra, shape.Sharded())
			}
		}
	}
}

func small(int) uint64 { return 3 }

// filler returns names that bring the estimate of a directory to 256 KiB + extra.
func filler(p unixfs.Profile, names []string, extra int) []string {
	per, total := 36, 0
	if p.HAMTEstimate == unixfs.BlockBytes {
		per, total = 36+8, 4 // below 128 bytes a link has 8 bytes of tags, lengths and Tsize
	}
	for _, name := range names {
		total += len(name) + per
	}
	rest := 256<<10 + extra - total
	var out []string
	for i := 0; rest > 0; i++ {
		n := 50
		if rest < 2*(50+per) {
			n = rest/2 - per
			out = append(out, fmt.Sprintf("%03d%s", i, strings.Repeat("z", n-3)), fmt.Sprintf("%03d%s", i+1, strings.Repeat("z", rest-n-2*per-3)))
			break
		}
		out = append(out, fmt.Sprintf("%03d%s", i, strings.Repeat("z", n-3)))
		rest -= n + per
	}
	return out
}

func TestEmptyDirectoryVectors(t *testing.T) {
	for name, want := range map[string]string{ // UnixFS specification, Appendix: Test Vectors
		unixfs.V0: "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
		unixfs.V1: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
	} {
		if _, b, _ := dirOf(t, profile(t, name, nil), nil, small); b.CID.String() != want {
			t.Errorf("%s: empty directory %s, want %s", name, b.CID, want)
		}
	}
}

func TestDirectoryRefuses(t *testing.T) {
	for _, threshold := range []int{1, 256 << 10} {
		p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.HAMTThreshold = threshold })
		for _, names := range [][]string{{""}, {"."}, {".."}, {"a/b"}, {"a\x00"}, {"x", "y", "x"}} {
			var entries []unixfs.DirEntry
			for _, name := range names {
				entries = append(entries, unixfs.DirEntry{Name: name, CIDLen: 36})
			}
			if _, err := p.Directory(entries); err == nil {
				t.Errorf("threshold %d: Directory takes the names %q", threshold, names)
			}
		}
		_, err := p.Directory([]unixfs.DirEntry{{Name: strings.Repeat("x", block.MaxSize), CIDLen: 36}})
		if !errors.Is(err, block.ErrTooLarge) {
			t.Errorf("threshold %d: a name of 2 MiB: %v", threshold, err)
		}
		n, err := p.Directory([]unixfs.DirEntry{{Name: "a", CIDLen: 36}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.EncodeDir(n, nil); err == nil {
			t.Error("EncodeDir takes too few links")
		}
	}
}
