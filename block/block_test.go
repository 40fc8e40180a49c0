package block_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

func cidOf(t testing.TB, code digest.Code, codec uint64, data []byte) cid.Cid {
	t.Helper()
	d, err := digest.Sum(code, data)
	if err != nil {
		t.Fatal(err)
	}
	return d.CID(codec)
}

func TestNew(t *testing.T) {
	full := make([]byte, block.MaxSize)
	data := []byte("hello")
	v0 := cid.NewCidV0(cidOf(t, digest.SHA256, 0, data).Hash())
	tests := []struct {
		name string
		cid  cid.Cid
		data []byte
		want error
	}{
		{"sha2-256", cidOf(t, digest.SHA256, cid.Raw, data), data, nil},
		{"version 0", v0, data, nil},
		{"sha2-512, dag-cbor", cidOf(t, digest.SHA512, cid.DagCBOR, data), data, nil},
		{"blake3", cidOf(t, digest.BLAKE3, cid.Raw, data), data, nil},
		{"identity", cidOf(t, digest.Identity, cid.Raw, data), data, nil},
		{"empty", cidOf(t, digest.SHA256, cid.Raw, nil), nil, nil},
		{"largest", cidOf(t, digest.SHA256, cid.Raw, full), full, nil},
		{"too large", cidOf(t, digest.SHA256, cid.Raw, append(full, 0)), append(full, 0), block.ErrTooLarge},
		{"other data", cidOf(t, digest.SHA256, cid.Raw, data), []byte("hellO"), digest.ErrMismatch},
		{"no data", cidOf(t, digest.SHA256, cid.Raw, data), nil, digest.ErrMismatch},
		{"undefined CID", cid.Undef, data, digest.ErrInvalid},
		{"unknown hash", cid.NewCidV1(cid.Raw, []byte("\x11\x02ab")), data, digest.ErrUnsupported},
	}
	for _, test := range tests {
		b, err := block.New(test.cid, test.data)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err == nil && (!b.CID.Equals(test.cid) || len(b.Data) != len(test.data)) {
			t.Errorf("%s: got %v", test.name, b.CID)
		}
		if err != nil && b.CID.Defined() {
			t.Errorf("%s: a block came with the error", test.name)
		}
	}
}

// source yields its blocks, then its error.
type source struct {
	asked  int
	blocks []block.Block
	err    error
}

func (s *source) Blocks(context.Context, digest.Digest) iter.Seq2[block.Block, error] {
	s.asked++
	return func(yield func(block.Block, error) bool) {
		for _, b := range s.blocks {
			if !yield(b, nil) {
				return
			}
		}
		if s.err != nil {
			yield(block.Block{}, s.err)
		}
	}
}

func TestGet(t *testing.T) {
	data := []byte("hello")
	raw, pb := cidOf(t, digest.SHA256, cid.Raw, data), cidOf(t, digest.SHA256, cid.DagProtobuf, data)
	inline := cidOf(t, digest.Identity, cid.DagCBOR, data)
	broken := errors.New("broken")
	tests := []struct {
		name  string
		src   *source
		c     cid.Cid
		want  error
		asked int
	}{
		{"found", &source{blocks: []block.Block{{CID: raw, Data: data}, {CID: raw}}}, raw, nil, 1},
		{"codec of the question", &source{blocks: []block.Block{{CID: raw, Data: data}}}, pb, nil, 1},
		{"identity", &source{err: broken}, inline, nil, 0},
		{"nothing", &source{}, raw, fs.ErrNotExist, 1},
		{"error", &source{err: broken}, raw, broken, 1},
		{"undefined", &source{}, cid.Undef, digest.ErrInvalid, 0},
		{"identity of 129 bytes", &source{}, cid.NewCidV1(cid.Raw, append([]byte{0, 0x81, 1}, make([]byte, 129)...)), digest.ErrInvalid, 0},
	}
	for _, test := range tests {
		b, err := block.Get(t.Context(), test.src, test.c)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err == nil && (!b.CID.Equals(test.c) || string(b.Data) != "hello") {
			t.Errorf("%s: %s %q", test.name, b.CID, b.Data)
		}
		if test.src.asked != test.asked {
			t.Errorf("%s: asked %d times, want %d", test.name, test.src.asked, test.asked)
		}
	}
}
