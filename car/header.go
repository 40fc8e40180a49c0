package car

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/ipfs/go-cid"
)

// The parts of a header in DAG-CBOR. There is one way to write a header, so the
// few forms it takes are read and written here without a general codec.
const (
	cborMap1    = "\xa1"
	cborMap2    = "\xa2"
	cborRoots   = "\x65roots"
	cborVersion = "\x67version"
	cborLink    = "\xd8\x2a" // tag 42: a CID
	cborNull    = "\xf6"

	cborBytes = 2 // major types
	cborArray = 4
)

// AppendHeader appends the header of a CARv1: a varint length and the DAG-CBOR
// map of roots and version. It panics if a root is undefined.
func AppendHeader(b []byte, roots ...cid.Cid) []byte {
	h := append([]byte(nil), cborMap2+cborRoots...)
	h = appendCBOR(h, cborArray, uint64(len(roots)))
	for _, root := range roots {
		if !root.Defined() {
			panic("car: undefined root")
		}
		h = append(h, cborLink...)
		h = appendCBOR(h, cborBytes, uint64(root.ByteLen()+1))
		h = append(h, 0) // the multibase prefix of bare bytes
		h = append(h, root.KeyString()...)
	}
	h = append(h, cborVersion+"\x01"...)
	b = binary.AppendUvarint(b, uint64(len(h)))
	return append(b, h...)
}

// decodeHeader reads the DAG-CBOR of a header. Version 2 has no roots: there it
// is the pragma that precedes the real header.
func decodeHeader(b []byte) (version int, roots []cid.Cid, err error) {
	switch {
	case string(b) == pragma[1:]:
		return 2, nil, nil
	case bytes.HasPrefix(b, []byte(cborMap1+cborVersion)):
		return 0, nil, fmt.Errorf("%w: header without roots, or of an unknown version", ErrMalformed)
	case !bytes.HasPrefix(b, []byte(cborMap2+cborRoots)):
		return 0, nil, fmt.Errorf("%w: header is not a canonical DAG-CBOR map of roots and version", ErrMalformed)
	}
	roots, b, err = decodeRoots(b[len(cborMap2+cborRoots):])
	if err != nil {
		return 0, nil, err
	}
	if string(b) != cborVersion+"\x01" {
		return 0, nil, fmt.Errorf("%w: header does not end with version 1", ErrMalformed)
	}
	return 1, roots, nil
}

func decodeRoots(b []byte) ([]cid.Cid, []byte, error) {
	if rest, ok := bytes.CutPrefix(b, []byte(cborNull)); ok {
		return nil, rest, nil // go-car writes a nil slice of roots so
	}
	n, b, err := cutCBOR(b, cborArray)
	if err != nil {
		return nil, nil, err
	}
	var roots []cid.Cid // grows with what is there, not with what n says
	for range n {
		if !bytes.HasPrefix(b, []byte(cborLink)) {
			return nil, nil, fmt.Errorf("%w: a root in the header is not a link", ErrMalformed)
		}
		size, rest, err := cutCBOR(b[len(cborLink):], cborBytes)
		if err != nil {
			return nil, nil, err
		}
		if size < 2 || size > uint64(len(rest)) || rest[0] != 0 {
			return nil, nil, fmt.Errorf("%w: a root in the header is not a CID", ErrMalformed)
		}
		root, err := cid.Cast(rest[1:size])
		if err != nil {
			return nil, nil, fmt.Errorf("%w: a root in the header: %v", ErrMalformed, err)
		}
		roots, b = append(roots, root), rest[size:]
	}
	return roots, b, nil
}

// appendCBOR appends the head of a DAG-CBOR item: a major type and its number in
// the shortest form. Numbers here stay below 2³².
func appendCBOR(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
}

// cutCBOR reads such a head. Only the shortest form is accepted.
func cutCBOR(b []byte, major byte) (uint64, []byte, error) {
	if len(b) == 0 || b[0]>>5 != major {
		return 0, nil, fmt.Errorf("%w: unexpected item in the header", ErrMalformed)
	}
	info, b := b[0]&31, b[1:]
	if info < 24 {
		return uint64(info), b, nil
	}
	width := 1 << (info - 24)
	if info > 26 || len(b) < width {
		return 0, nil, fmt.Errorf("%w: bad length in the header", ErrMalformed)
	}
	var n uint64
	for _, digit := range b[:width] {
		n = n<<8 | uint64(digit)
	}
	if least := uint64(1) << (width * 4); (width == 1 && n < 24) || (width > 1 && n < least) {
		return 0, nil, fmt.Errorf("%w: length in the header is not in its shortest form", ErrMalformed)
	}
	return n, b[width:], nil
}
