package car_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// stream hides everything but Read.
type stream struct{ io.Reader }

func newBlock(t testing.TB, data []byte) block.Block {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, data)
	if err != nil {
		t.Fatal(err)
	}
	return block.Block{CID: d.CID(cid.Raw), Data: data}
}

// blocksOf makes reproducible blocks of the given sizes.
func blocksOf(t testing.TB, sizes ...int) []block.Block {
	rnd := rand.NewChaCha8([32]byte{7})
	var blocks []block.Block
	for _, size := range sizes {
		data := make([]byte, size)
		rnd.Read(data)
		blocks = append(blocks, newBlock(t, data))
	}
	return blocks
}

func encode(t testing.TB, roots []cid.Cid, blocks ...block.Block) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := car.NewWriter(&buf, roots...)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

type found struct {
	car.Section
	Data []byte
}

// readAll reads every section of r and its data. It keeps what it read before an error.
func readAll(r io.Reader, o *car.Options) (*car.Reader, []found, error) {
	reader, err := car.NewReader(r, o)
	if err != nil {
		return nil, nil, err
	}
	var all []found
	for {
		s, err := reader.Next()
		if err == io.EOF {
			return reader, all, nil
		}
		if err != nil {
			return reader, all, err
		}
		data, err := reader.Data()
		if err != nil {
			return reader, all, err
		}
		all = append(all, found{s, data})
	}
}

// skipAll reads the heads only.
func skipAll(r io.Reader) ([]car.Section, error) {
	reader, err := car.NewReader(r, nil)
	if err != nil {
		return nil, err
	}
	var all []car.Section
	for {
		s, err := reader.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
}

var cidComparer = cmp.Comparer(func(a, b cid.Cid) bool { return a.Equals(b) })

func TestRoundTrip(t *testing.T) {
	v0 := newBlock(t, []byte("version 0"))
	v0.CID = cid.NewCidV0(v0.CID.Hash())
	blocks := append(blocksOf(t, 0, 1, 100, 127, 128, 4096, 70_000, 300_000, 1<<20, 5), v0)
	for _, roots := range [][]cid.Cid{nil, {blocks[1].CID}, {v0.CID, blocks[2].CID}, many(t, 300)} {
		raw := encode(t, roots, blocks...)
		for name, r := range map[string]io.Reader{
			"seeker": bytes.NewReader(raw), "stream": stream{bytes.NewReader(raw)},
			"one byte": iotest.OneByteReader(bytes.NewReader(raw)), "data with EOF": iotest.DataErrReader(stream{bytes.NewReader(raw)}),
		} {
			reader, got, err := readAll(r, nil)
			if err != nil {
				t.Fatalf("%s, %d roots: %v", name, len(roots), err)
			}
			if reader.Version() != 1 {
				t.Errorf("version %d, want 1", reader.Version())
			}
			if diff := cmp.Diff(roots, reader.Roots(), cidComparer); diff != "" {
				t.Error(diff)
			}
			if len(got) != len(blocks) {
				t.Fatalf("%s: %d sections, want %d", name, len(got), len(blocks))
			}
			for i, f := range got {
				if !f.CID.Equals(blocks[i].CID) || !bytes.Equal(f.Data, blocks[i].Data) {
					t.Errorf("%s: section %d is %v of %d bytes", name, i, f.CID, len(f.Data))
				}
				if !bytes.Equal(raw[f.Offset:f.Offset+f.Size], blocks[i].Data) {
					t.Errorf("%s: section %d is not at %d", name, i, f.Offset)
				}
			}
		}
	}
}

func many(t testing.TB, n int) []cid.Cid {
	var roots []cid.Cid
	for i := range n {
		roots = append(roots, newBlock(t, fmt.Append(nil, i)).CID)
	}
	return roots
}

func TestSkipGivesTheSameSections(t *testing.T) {
	raw := encode(t, nil, blocksOf(t, 10, 200_000, 0, 70_000, 1<<20, 65_536, 65_535, 1)...)
	_, all, err := readAll(bytes.NewReader(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []car.Section
	for _, f := range all {
		want = append(want, f.Section)
	}
	counter := &countingSeeker{ReadSeeker: bytes.NewReader(raw)}
	for name, r := range map[string]io.Reader{"seeker": counter, "stream": stream{bytes.NewReader(raw)}} {
		got, err := skipAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cidComparer); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if counter.read > len(raw)/2 {
		t.Errorf("a seeker was read for %d of %d bytes", counter.read, len(raw))
	}
}

type countingSeeker struct {
	io.ReadSeeker
	read int
}

func (c *countingSeeker) Read(b []byte) (int, error) {
	n, err := c.ReadSeeker.Read(b)
	c.read += n
	return n, err
}

func TestReaderStartsWhereTheSeekerStands(t *testing.T) {
	b := blocksOf(t, 300_000, 10)
	raw := append([]byte("before"), encode(t, nil, b...)...)
	r := bytes.NewReader(raw)
	if _, err := r.Seek(6, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := skipAll(r)
	if err != nil || len(got) != 2 || !got[1].CID.Equals(b[1].CID) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPipeIsNoSeeker(t *testing.T) {
	b := blocksOf(t, 30_000, 10)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		w.Write(encode(t, nil, b...))
		w.Close()
	}()
	if got, err := skipAll(r); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFileCutWhileRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "cut.car")
	if err := os.WriteFile(name, encode(t, nil, blocksOf(t, 10, 500_000)...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := car.NewReader(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(name, 200_000); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, car.ErrTruncated) {
		t.Errorf("after the file was cut: %v, want ErrTruncated", err)
	}
}

func TestLyingLengthAllocatesLittle(t *testing.T) {
	b := newBlock(t, []byte("x"))
	raw := append(car.AppendHead(car.AppendHeader(nil, b.CID), b.CID, 1<<40), make([]byte, 1000)...)
	r, err := car.NewReader(stream{bytes.NewReader(raw)}, &car.Options{MaxBlock: 1 << 50})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = r.Data()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, car.ErrTruncated) {
		t.Errorf("Data: %v, want ErrTruncated", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("a claim of 1 TiB allocated %d bytes", n)
	}
}

func TestTooLargeBlockIsSkipped(t *testing.T) {
	blocks := blocksOf(t, block.MaxSize, block.MaxSize+1, 3)
	for _, r := range []io.Reader{
		bytes.NewReader(encode(t, nil, blocks...)), stream{bytes.NewReader(encode(t, nil, blocks...))},
	} {
		reader, err := car.NewReader(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, block.ErrTooLarge, nil} {
			s, err := reader.Next()
			if err != nil || !s.CID.Equals(blocks[i].CID) {
				t.Fatalf("Next %d: %v, %v", i, s, err)
			}
			data, err := reader.Data()
			if !errors.Is(err, want) || (err == nil && !bytes.Equal(data, blocks[i].Data)) {
				t.Errorf("Data %d: %d bytes, %v; want %v", i, len(data), err, want)
			}
		}
		if _, err := reader.Next(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
	big := blocksOf(t, 5*block.MaxSize+1)
	_, got, err := readAll(stream{bytes.NewReader(encode(t, nil, big...))}, &car.Options{MaxBlock: 1 << 30})
	if err != nil || !bytes.Equal(got[0].Data, big[0].Data) {
		t.Errorf("with a higher limit: %v", err)
	}
}

func TestDataOnlyOnce(t *testing.T) {
	r, err := car.NewReader(bytes.NewReader(encode(t, nil, blocksOf(t, 5)...)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Data(); err == nil {
		t.Error("Data before Next gave no error")
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Data(); err != nil {
		t.Fatal(err)
	}
	if b, err := r.Data(); err == nil {
		t.Errorf("Data twice gave %q", b)
	}
	for range 2 {
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("at the end: %v, want EOF", err)
		}
	}
}

func TestReadErrorIsWrapped(t *testing.T) {
	broken := errors.New("broken disk")
	raw := encode(t, nil, blocksOf(t, 100, 100)...)
	for n := range raw {
		_, _, err := readAll(io.MultiReader(bytes.NewReader(raw[:n]), iotest.ErrReader(broken)), nil)
		if !errors.Is(err, broken) {
			t.Fatalf("error after %d bytes: %v", n, err)
		}
	}
}

func TestHeaderLimit(t *testing.T) {
	raw := encode(t, many(t, 30))
	if _, err := car.NewReader(bytes.NewReader(raw), &car.Options{MaxHeader: 1000}); !errors.Is(err, car.ErrMalformed) {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := car.NewReader(bytes.NewReader(raw), &car.Options{MaxHeader: int64(len(raw))}); err != nil {
		t.Errorf("under the limit: %v", err)
	}
}

func TestHeadSize(t *testing.T) {
	c := newBlock(t, nil).CID
	for _, size := range []int64{0, 1, 90, 91, 92, 127, 128, 16_346, 16_347, 16_348, 1 << 20, 1 << 40, 1<<62 - 1} {
		if got, want := car.HeadSize(c, size), int64(len(car.AppendHead(nil, c, size))); got != want {
			t.Errorf("HeadSize(%d) = %d, want %d", size, got, want)
		}
		if got, want := car.HeadSizeLen(c.ByteLen(), size), car.HeadSize(c, size); got != want {
			t.Errorf("HeadSizeLen(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestNextAllocatesOnlyTheCID(t *testing.T) {
	raw := encode(t, nil, blocksOf(t, make([]int, 2000)...)...)
	r, err := car.NewReader(bytes.NewReader(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("Next makes %v allocations, want 1", n)
	}
}

// TestGatewayFixtures reads the archive of the gateway conformance suite: 26
// files merged by the suite's own tool.
func TestGatewayFixtures(t *testing.T) {
	raw, err := os.ReadFile("testdata/fixtures.car")
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := readAll(bytes.NewReader(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	verified := 0
	for _, f := range got {
		if _, err := block.New(f.CID, f.Data); err != nil {
			t.Error(err)
			continue
		}
		verified++
	}
	if verified < 100 {
		t.Errorf("only %d blocks", verified)
	}
}

func BenchmarkNext(b *testing.B) {
	raw := encode(b, nil, blocksOf(b, slicesOf(4096, 4096)...)...)
	for name, read := range map[string]bool{"skip": false, "read": true} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				r, err := car.NewReader(bytes.NewReader(raw), nil)
				for err == nil {
					if _, err = r.Next(); err == nil && read {
						_, err = r.Data()
					}
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}

func slicesOf(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}
