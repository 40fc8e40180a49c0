package bao

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	oracle "lukechampine.com/blake3/bao"

	"github.com/hashstream/hashstream/digest"
)

// tree is a blob with all its nodes.
type tree struct {
	shape shape
	data  []byte
	root  digest.Digest
	nodes map[int64]Pair
}

func (t *tree) Node(_ context.Context, split int64) (Pair, error) {
	p, ok := t.nodes[split]
	if !ok {
		return Pair{}, fs.ErrNotExist
	}
	return p, nil
}

// plant hashes data with a Hasher of so many workers.
func plant(t testing.TB, data []byte, log uint8, workers int) *tree {
	t.Helper()
	h := NewHasher(&HasherOptions{Workers: workers})
	h.log = log
	nodes := map[int64]Pair{}
	_, size, err := h.Sum(t.Context(), iotest.OneByteReader(bytes.NewReader(data[:min(len(data), 3)])), nil)
	if err != nil || size != int64(min(len(data), 3)) {
		t.Fatalf("Sum of a few bytes: %d, %v", size, err)
	}
	root, size, err := h.Sum(t.Context(), bytes.NewReader(data), collect(t, nodes))
	if err != nil || size != int64(len(data)) {
		t.Fatalf("Sum: %d bytes, %v", size, err)
	}
	at := map[int64]Pair{}
	if again, err := h.SumAt(t.Context(), bytes.NewReader(data), size, collect(t, at)); err != nil || again != root || fmt.Sprint(at) != fmt.Sprint(nodes) {
		t.Fatalf("SumAt: %s, %v, not as Sum: %s", again, err, root)
	}
	s := shape{size, log}
	if int64(len(nodes)) != s.groups()-1 {
		t.Fatalf("%d nodes of %d groups", len(nodes), s.groups())
	}
	return &tree{s, data, root, nodes}
}

func collect(t testing.TB, nodes map[int64]Pair) Sink {
	run := int64(0)
	return func(_ context.Context, split int64, p *Pair) error {
		if _, twice := nodes[split]; twice {
			t.Errorf("node %d comes twice", split)
		}
		if split%64 != 0 { // a node inside of a run of 64 groups
			if split/64 < run {
				t.Errorf("node %d comes after the run %d", split, run)
			}
			run = split / 64
		}
		nodes[split] = *p
		return nil
	}
}

func (t *tree) encode(tb testing.TB, off, n int64) []byte {
	tb.Helper()
	s := t.shape.slice(off, n)
	from, length := s.Extent()
	var b bytes.Buffer
	wrote, err := s.Encode(tb.Context(), &b, t.root, t, io.NewSectionReader(bytes.NewReader(t.data), from, length))
	if err != nil {
		tb.Fatalf("Encode %d from %d of %d: %v", n, off, len(t.data), err)
	}
	if wrote != int64(b.Len()) || s.EncodedSize() != wrote {
		tb.Fatalf("%d from %d of %d bytes: EncodedSize %d, wrote %d of %d", n, off, len(t.data), s.EncodedSize(), wrote, b.Len())
	}
	return b.Bytes()
}

// decode reads with group log l.
func decode(b []byte, root digest.Digest, off, n int64, l uint8) ([]byte, *Reader, error) {
	r, err := NewReader(bytes.NewReader(b), root, off, n)
	if err != nil {
		return nil, nil, err
	}
	r.log = l
	got, err := io.ReadAll(r)
	return got, r, err
}

// part is what the slice of n bytes from off of data must give.
func part(data []byte, off, n int64) []byte {
	off = min(off, int64(len(data)))
	return data[off : off+min(n, int64(len(data))-off)]
}

func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((i/4 + 1) >> (8 * (i % 4)))
	}
	return b
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func lines(t *testing.T, name string) (all [][]string) {
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		all = append(all, strings.Fields(s.Text()))
	}
	return all
}

func number(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func hexOf(d digest.Digest) string { return hex.EncodeToString(d.Value()) }

func blake3Of(t *testing.T, b []byte) string {
	d, err := digest.Sum(digest.BLAKE3, b)
	if err != nil {
		t.Fatal(err)
	}
	return hexOf(d)
}

func TestBLAKE3Vectors(t *testing.T) {
	all := lines(t, "blake3.txt")
	if len(all) != 35 {
		t.Fatalf("%d vectors", len(all))
	}
	for _, l := range all {
		data := make([]byte, number(t, l[0]))
		for i := range data {
			data[i] = byte(i % 251)
		}
		for _, log := range []uint8{0, 1, 4} {
			if got := plant(t, data, log, 2); hexOf(got.root) != l[1] {
				t.Errorf("%d bytes in groups of 2^%d: %s, want %s", len(data), log, hexOf(got.root), l[1])
			}
		}
	}
}

func TestBaoVectors(t *testing.T) {
	count := map[string]int{}
	for _, l := range lines(t, "bao.txt") {
		tr := plant(t, counting(int(number(t, l[1]))), 0, 2)
		if hexOf(tr.root) != l[2] {
			t.Fatalf("%v: hash %s", l, hexOf(tr.root))
		}
		count[l[0]]++
		off, n, rest := int64(0), int64(math.MaxInt64), l[3:]
		var b []byte
		switch l[0] {
		case "outboard":
			b = tr.outboard(t)
		case "slice":
			off, n, rest = number(t, l[3]), number(t, l[4]), l[5:]
			fallthrough
		default:
			b = tr.encode(t, off, n)
		}
		if int64(len(b)) != number(t, rest[0]) || blake3Of(t, b) != rest[1] {
			t.Fatalf("%v: %d bytes, %s", l, len(b), blake3Of(t, b))
		}
		if l[0] == "outboard" {
			continue
		}
		if got, _, err := decode(b, tr.root, off, n, 0); err != nil || !bytes.Equal(got, part(tr.data, off, n)) {
			t.Fatalf("%v: decoded %d bytes, %v", l, len(got), err)
		}
		for at := range strings.SplitSeq(rest[2], ",") {
			bad := bytes.Clone(b)
			bad[number(t, at)] ^= 1
			if _, _, err := decode(bad, tr.root, off, n, 0); !isCorrupt(err) {
				t.Errorf("%v: flipped bit at %s: %v", l, at, err)
			}
		}
	}
	if count["encode"] != 13 || count["outboard"] != 13 || count["slice"] < 100 {
		t.Errorf("vectors: %v", count)
	}
}

func isCorrupt(err error) bool {
	return errors.Is(err, digest.ErrMismatch) || errors.Is(err, io.ErrUnexpectedEOF)
}

// outboard is the whole encoding without its groups.
func (t *tree) outboard(tb testing.TB) []byte {
	var b []byte
	at := 0
	whole := t.encode(tb, 0, math.MaxInt64)
	v, err := newVerifier(t.shape.slice(0, math.MaxInt64), t.root)
	if err != nil {
		tb.Fatal(err)
	}
	b, at = whole[:8:8], 8
	for s, ok := v.next(); ok; s, ok = v.next() {
		if s.leaf() {
			at += t.shape.bytes(s.first)
			continue
		}
		b = append(b, whole[at:at+64]...)
		if err := v.parent(s, (*Pair)(whole[at:])); err != nil {
			tb.Fatal(err)
		}
		at += 64
	}
	return b
}

// sizes are around every edge: of a chunk, a group, powers of two, a piece.
func sizes() []int {
	s := []int{0, 1, 2, 63, 64, 1000000, 3333333}
	for _, edge := range []int{1024, GroupSize, 2 * GroupSize, 3 * GroupSize, 4 * GroupSize, 7 * GroupSize, 8 * GroupSize, 32 * GroupSize, 64 * GroupSize, 65 * GroupSize, 128 * GroupSize, 192 * GroupSize, 320 * GroupSize} {
		s = append(s, edge-1, edge, edge+1)
	}
	return s
}

// TestOracle compares with another implementation, byte for byte.
func TestOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := sizes()
	for range 10 {
		all = append(all, rnd.IntN(4<<20))
	}
	for i, size := range all {
		tr := plant(t, random(uint64(i), size), groupLog, 1+i%5)
		whole, root := oracle.EncodeBuf(tr.data, groupLog, false)
		if hexOf(tr.root) != hex.EncodeToString(root[:]) || !bytes.Equal(tr.encode(t, 0, int64(size)), whole) && size > 0 {
			t.Fatalf("%d bytes: %s, want %x, or another encoding", size, tr.root, root)
		}
		flat, _ := oracle.EncodeBuf(tr.data, groupLog, true)
		if !bytes.Equal(tr.outboard(t), flat) {
			t.Fatalf("%d bytes: another outboard", size)
		}
		for range 20 {
			if size == 0 {
				break
			}
			off := rnd.Int64N(int64(size))
			n := 1 + rnd.Int64N(min(int64(size)-off, 1<<uint(rnd.IntN(22))))
			compare(t, tr, whole, root, off, n)
		}
	}
}

func compare(t *testing.T, tr *tree, whole []byte, root [32]byte, off, n int64) {
	t.Helper()
	var want bytes.Buffer
	if err := oracle.ExtractSlice(&want, bytes.NewReader(whole), nil, groupLog, uint64(off), uint64(n)); err != nil {
		t.Fatal(err)
	}
	b := tr.encode(t, off, n)
	if !bytes.Equal(b, want.Bytes()) {
		t.Fatalf("%d from %d of %d bytes: another slice", n, off, len(tr.data))
	}
	if got, ok := oracle.VerifySlice(b, groupLog, uint64(off), uint64(n), root); !ok || !bytes.Equal(got, part(tr.data, off, n)) {
		t.Fatalf("%d from %d of %d bytes: the oracle gets %d bytes, %v", n, off, len(tr.data), len(got), ok)
	}
	got, r, err := decode(b, tr.root, off, n, groupLog)
	if err != nil || !bytes.Equal(got, part(tr.data, off, n)) {
		t.Fatalf("%d from %d of %d bytes: got %d bytes, %v", n, off, len(tr.data), len(got), err)
	}
	last := (int64(len(tr.data)) - 1) / GroupSize
	if size, ok := r.Size(); ok != ((off+n-1)/GroupSize == last) || ok && size != int64(len(tr.data)) {
		t.Fatalf("%d from %d of %d bytes: Size is %d, %v", n, off, len(tr.data), size, ok)
	}
	var copied bytes.Buffer
	s := tr.shape.slice(off, n)
	from, length := s.Extent()
	if _, err := s.Copy(t.Context(), &copied, tr.root, tr, io.NewSectionReader(bytes.NewReader(tr.data), from, length)); err != nil || !bytes.Equal(copied.Bytes(), got) {
		t.Fatalf("Copy of %d from %d of %d bytes: %d bytes, %v", n, off, len(tr.data), copied.Len(), err)
	}
}

// TestOutside asks for slices that reach beyond the blob, or are empty.
func TestOutside(t *testing.T) {
	for _, size := range []int{0, 1, GroupSize, GroupSize + 1, 5 * GroupSize, 70*GroupSize + 5} {
		tr := plant(t, random(9, size), groupLog, 1)
		for _, off := range []int64{0, 1, int64(size) / 2, max(0, int64(size)-1), int64(size), int64(size) + 1, int64(size) + 99*GroupSize, math.MaxInt64} {
			for _, n := range []int64{0, 1, GroupSize, int64(size), math.MaxInt64} {
				b := tr.encode(t, off, n)
				got, r, err := decode(b, tr.root, off, n, groupLog)
				if err != nil || !bytes.Equal(got, part(tr.data, off, n)) {
					t.Fatalf("%d from %d of %d: %d bytes, %v", n, off, size, len(got), err)
				}
				proved, ok := r.Size()
				if beyond := off >= int64(size) || n >= int64(size)-off; beyond && (!ok || proved != int64(size)) {
					t.Errorf("%d from %d of %d: size is not proved: %d, %v", n, off, size, proved, ok)
				}
			}
		}
	}
}
