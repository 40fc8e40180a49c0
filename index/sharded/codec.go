package sharded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// The major types of DAG-CBOR that occur.
const (
	cborUint  = 0
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
)

// cborLink is tag 42: a CID.
const cborLink = "\xd8\x2a"

// Encode returns the file of x. Shards and slices may come in any order, but none twice.
func Encode(x Index) ([]byte, error) {
	x = x.clone()
	if err := x.sort(); err != nil {
		return nil, fmt.Errorf("sharded: encode: %w", err)
	}
	if !x.Content.Defined() {
		return nil, fmt.Errorf("sharded: encode: %w: no content", ErrMalformed)
	}
	root := appendText(appendHead(nil, cborMap, 1), Version)
	root = appendText(appendHead(root, cborMap, 2), "shards")
	root = appendHead(root, cborArray, uint64(len(x.Shards)))
	var sections []byte
	for _, s := range x.Shards {
		b, err := appendShard(nil, s)
		if err != nil {
			return nil, fmt.Errorf("sharded: encode: %w", err)
		}
		c, err := link(b)
		if err != nil {
			return nil, err
		}
		root = appendLink(root, c)
		sections = append(car.AppendHead(sections, c, int64(len(b))), b...)
	}
	root = appendLink(appendText(root, "content"), x.Content)
	c, err := link(root)
	if err != nil {
		return nil, err
	}
	out := car.AppendHead(car.AppendHeader(nil, c), c, int64(len(root)))
	return append(append(out, root...), sections...), nil
}

// link names a block.
func link(b []byte) (cid.Cid, error) {
	d, err := digest.Sum(digest.SHA256, b)
	return d.CID(cid.DagCBOR), err
}

func appendShard(b []byte, s Shard) ([]byte, error) {
	b = appendBytes(appendHead(b, cborArray, 2), s.Digest.Bytes())
	b = appendHead(b, cborArray, uint64(len(s.Slices)))
	for _, slice := range s.Slices {
		if slice.Offset < 0 || slice.Length < 0 {
			return nil, fmt.Errorf("%w: slice %s at %d+%d", ErrMalformed, slice.Digest, slice.Offset, slice.Length)
		}
		b = appendBytes(appendHead(b, cborArray, 2), slice.Digest.Bytes())
		b = appendHead(b, cborArray, 2)
		b = appendHead(b, cborUint, uint64(slice.Offset))
		b = appendHead(b, cborUint, uint64(slice.Length))
	}
	return b, nil
}

// appendHead appends a major type and its number in the shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, cborText, uint64(len(s))), s...)
}

func appendBytes(b, data []byte) []byte {
	return append(appendHead(b, cborBytes, uint64(len(data))), data...)
}

func appendLink(b []byte, c cid.Cid) []byte {
	return appendBytes(append(b, cborLink...), append([]byte{0}, c.Bytes()...))
}

// Decode reads the file of an index. It accepts only what [Encode] writes, and
// allocates no more than is there.
func Decode(b []byte) (Index, error) {
	x, err := decodeFile(b)
	if err != nil {
		return Index{}, fmt.Errorf("sharded: decode: %w", err)
	}
	return x, nil
}

func decodeFile(b []byte) (Index, error) {
	r, err := car.NewReader(bytes.NewReader(b), &car.Options{MaxBlock: int64(len(b)) + 1})
	if err != nil {
		return Index{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if r.Version() != 1 || len(r.Roots()) != 1 || r.Roots()[0].Type() != cid.DagCBOR {
		return Index{}, fmt.Errorf("%w: a CAR of version %d with the roots %v", ErrMalformed, r.Version(), r.Roots())
	}
	d, err := next(r, r.Roots()[0])
	if err != nil {
		return Index{}, err
	}
	var x Index
	links := d.root(&x)
	if d.err != nil {
		return Index{}, d.err
	}
	for _, c := range links {
		if d, err = next(r, c); err != nil {
			return Index{}, err
		}
		if x.Shards = append(x.Shards, d.shard()); d.err != nil {
			return Index{}, fmt.Errorf("shard %s: %w", c, d.err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		return Index{}, fmt.Errorf("%w: something after the last shard", ErrMalformed)
	}
	return x, checkOrder(x.Shards, func(s Shard) digest.Digest { return s.Digest })
}

// next returns the block that must come next.
func next(r *car.Reader, c cid.Cid) (*decoder, error) {
	s, err := r.Next()
	if err == nil && !s.CID.Equals(c) {
		err = fmt.Errorf("%s stands where %s must", s.CID, c)
	}
	var data []byte
	if err == nil {
		data, err = r.Data()
	}
	var d digest.Digest
	if err == nil {
		d, err = digest.FromCID(c)
	}
	if err == nil && (d.Code() != digest.SHA256 || c.Version() != 1 || c.Type() != cid.DagCBOR) {
		err = fmt.Errorf("%s is no sha2-256 of DAG-CBOR", c)
	}
	if err == nil {
		err = d.Verify(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: block %s: %w", ErrMalformed, c, err)
	}
	return &decoder{b: data}, nil
}

// decoder reads from the front of b until the first error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// head reads a head of one major type. Only the shortest form is accepted.
func (d *decoder) head(major byte) uint64 {
	if d.err != nil || len(d.b) == 0 || d.b[0]>>5 != major {
		d.fail("no item of type %d at %.8x", major, d.b)
		return 0
	}
	info, rest := d.b[0]&31, d.b[1:]
	n := uint64(info)
	if info >= 24 {
		width := 1 << (info - 24)
		if info > 27 || len(rest) < width {
			d.fail("a bad length")
			return 0
		}
		var room [8]byte
		copy(room[8-width:], rest)
		n, rest = binary.BigEndian.Uint64(room[:]), rest[width:]
		if !bytes.Equal(appendHead(nil, major, n), d.b[:1+width]) {
			d.fail("a length in a longer form than needed")
		}
	}
	d.b = rest
	return n
}

// expect reads a head that must have one number.
func (d *decoder) expect(major byte, n uint64) {
	if got := d.head(major); got != n {
		d.fail("%d items of type %d, want %d", got, major, n)
	}
}

func (d *decoder) number() int64 {
	n := d.head(cborUint)
	if n > math.MaxInt64/2 {
		d.fail("number %d", n)
	}
	return int64(n)
}

func (d *decoder) take(major byte) []byte {
	n := d.head(major)
	if n > uint64(len(d.b)) {
		d.fail("%d bytes, %d are left", n, len(d.b))
	}
	if d.err != nil {
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) text(s string) {
	if got := d.take(cborText); string(got) != s {
		d.fail("%q instead of %q", got, s)
	}
}

func (d *decoder) digest() digest.Digest {
	v, err := digest.FromBytes(d.take(cborBytes))
	if err != nil {
		d.fail("%v", err)
	}
	return v
}

func (d *decoder) link() cid.Cid {
	rest, ok := bytes.CutPrefix(d.b, []byte(cborLink))
	if !ok {
		d.fail("no link")
		return cid.Undef
	}
	d.b = rest
	b := d.take(cborBytes)
	if len(b) < 2 || b[0] != 0 {
		d.fail("no link")
		return cid.Undef
	}
	c, err := cid.Cast(b[1:])
	if err != nil {
		d.fail("%v", err)
	}
	return c
}

func (d *decoder) end() {
	if len(d.b) > 0 {
		d.fail("%d bytes after the end", len(d.b))
	}
}

// root reads the first block. It returns the links of the shards.
func (d *decoder) root(x *Index) (shards []cid.Cid) {
	d.expect(cborMap, 1)
	d.text(Version)
	d.expect(cborMap, 2)
	d.text("shards")
	for n := d.head(cborArray); n > 0 && d.err == nil; n-- {
		shards = append(shards, d.link())
	}
	d.text("content")
	x.Content = d.link()
	d.end()
	return shards
}

func (d *decoder) shard() (s Shard) {
	d.expect(cborArray, 2)
	s.Digest = d.digest()
	for n := d.head(cborArray); n > 0 && d.err == nil; n-- {
		d.expect(cborArray, 2)
		slice := Slice{Digest: d.digest()}
		d.expect(cborArray, 2)
		slice.Offset, slice.Length = d.number(), d.number()
		s.Slices = append(s.Slices, slice)
	}
	d.end()
	if d.err == nil {
		d.err = checkOrder(s.Slices, func(s Slice) digest.Digest { return s.Digest })
	}
	return s
}
