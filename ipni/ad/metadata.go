package ad

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-varint"
)

// Code is the number of a retrieval protocol in the table of multicodecs.
type Code uint64

// The protocols whose metadata have a known form.
const (
	Bitswap           = Code(multicodec.TransportBitswap)             // no payload
	GraphsyncFilecoin = Code(multicodec.TransportGraphsyncFilecoinv1) // one item of dag-cbor
	GatewayHTTP       = Code(multicodec.TransportIpfsGatewayHttp)     // the trustless gateway; length and payload, which is empty
	PieceHTTP         = Code(multicodec.TransportFilecoinPieceHttp)   // length and payload, which is empty
)

// String returns the name of the protocol, as Delegated Routing uses it
// ("transport-bitswap"), or the number of an unnamed one.
func (c Code) String() string {
	if name := multicodec.Code(c).String(); !strings.HasPrefix(name, "Code(") {
		return name
	}
	return fmt.Sprintf("0x%x", uint64(c))
}

// Protocol is a way to retrieve what is advertised.
type Protocol struct {
	Code    Code
	Payload []byte // parameters, in the protocol's own form
}

// Protocols yields the protocols of metadata, which ascend by their codes. It stops at
// malformed bytes with an error. Metadata without a protocol yield nothing.
func Protocols(metadata []byte) iter.Seq2[Protocol, error] {
	return func(yield func(Protocol, error) bool) {
		if len(metadata) > MaxMetadata {
			yield(Protocol{}, refuse("metadata", fmt.Errorf("%d bytes, at most %d are allowed", len(metadata), MaxMetadata)))
			return
		}
		for last, rest := Code(0), metadata; len(rest) > 0; {
			p, after, err := nextProtocol(rest)
			if err == nil && p.Code < last {
				err = fmt.Errorf("%s stands after %s", p.Code, last)
			}
			if err != nil {
				yield(Protocol{}, refuse(fmt.Sprintf("metadata at byte %d", len(metadata)-len(rest)), err))
				return
			}
			if !yield(p, nil) {
				return
			}
			last, rest = p.Code, after
		}
	}
}

// nextProtocol reads the protocol at the beginning of b and returns what follows it.
func nextProtocol(b []byte) (Protocol, []byte, error) {
	code, n, err := varint.FromUvarint(b)
	if err != nil {
		return Protocol{}, nil, err
	}
	p, b := Protocol{Code: Code(code)}, b[n:]
	size := uint64(0)
	switch p.Code {
	case Bitswap:
	case GraphsyncFilecoin:
		if size, err = itemSize(b, maxItemDepth); err != nil {
			return Protocol{}, nil, err
		}
	default:
		if size, n, err = varint.FromUvarint(b); err != nil {
			return Protocol{}, nil, err
		}
		b = b[n:]
		if size > 0 && (p.Code == GatewayHTTP || p.Code == PieceHTTP) {
			return Protocol{}, nil, fmt.Errorf("%s has a payload", p.Code)
		}
	}
	if size > uint64(len(b)) {
		return Protocol{}, nil, fmt.Errorf("%s ends within its payload", p.Code)
	}
	p.Payload = b[:size:size]
	return p, b[size:], nil
}

const maxItemDepth = 8 // of nested items of CBOR

// itemSize returns the length of the item of CBOR at the beginning of b (RFC 8949,
// section 3; definite lengths only, as dag-cbor wants).
func itemSize(b []byte, depth int) (uint64, error) {
	if len(b) == 0 || depth == 0 {
		return 0, errors.New("CBOR ends early or nests too deeply")
	}
	major, info := b[0]>>5, b[0]&31
	size, value := uint64(1), uint64(info)
	if info >= 24 {
		width := uint64(1) << (info - 24)
		if info > 27 || uint64(len(b)) < 1+width {
			return 0, errors.New("malformed head of a CBOR item")
		}
		value = 0
		for _, c := range b[1 : 1+width] {
			value = value<<8 | uint64(c)
		}
		size += width
	}
	items := uint64(0)
	switch major {
	case 2, 3: // bytes, text
		if value > uint64(len(b))-size {
			return 0, errors.New("CBOR ends within a string")
		}
		return size + value, nil
	case 4:
		items = value
	case 5:
		items = 2 * min(value, MaxMetadata)
	case 6:
		items = 1
	}
	for range min(items, MaxMetadata+1) { // each has a byte: more cannot be
		n, err := itemSize(b[size:], depth-1)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// Metadata returns the metadata of protocols, in the order of their codes. At least one
// is needed.
func Metadata(protocols ...Protocol) ([]byte, error) {
	if len(protocols) == 0 {
		return nil, refuse("make metadata", errors.New("no protocol"))
	}
	sorted := slices.SortedStableFunc(slices.Values(protocols), func(a, b Protocol) int { return cmp.Compare(a.Code, b.Code) })
	var out []byte
	for _, p := range sorted {
		out = append(out, varint.ToUvarint(uint64(p.Code))...)
		if p.Code != Bitswap && p.Code != GraphsyncFilecoin {
			out = append(out, varint.ToUvarint(uint64(len(p.Payload)))...)
		}
		out = append(out, p.Payload...)
	}
	i := 0
	for p, err := range Protocols(out) { // a payload of the wrong form would be read as something else
		if err != nil {
			return nil, fmt.Errorf("ad: make metadata: %w", err)
		}
		if i >= len(sorted) || p.Code != sorted[i].Code || string(p.Payload) != string(sorted[i].Payload) {
			return nil, refuse("make metadata", fmt.Errorf("the payload of %s is not of its form", sorted[min(i, len(sorted)-1)].Code))
		}
		i++
	}
	return out, nil
}
