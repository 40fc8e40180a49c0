package tagset

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/multiformats/go-varint"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

const (
	magic   = "hsremovd"
	version = 1
)

// Encode returns the set as a file holds it.
func (s *Set) Encode() []byte {
	b := append([]byte(magic), version)
	var end valuestore.Tag
	for _, p := range s.Spans() {
		b = binary.AppendUvarint(b, uint64(p.From-end))
		b = binary.AppendUvarint(b, uint64(p.To-p.From))
		b = binary.AppendUvarint(b, p.Gen)
		end = p.To
	}
	return seal(b)
}

func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// Parse is strict: it takes what [Set.Encode] returns.
func Parse(b []byte) (*Set, error) {
	malformed := func(format string, args ...any) (*Set, error) {
		return nil, fmt.Errorf("tagset: read: %w: %s", digest.ErrMismatch, fmt.Sprintf(format, args...))
	}
	const head = len(magic) + 1
	if len(b) < head+4 || string(b[:len(magic)]) != magic {
		return malformed("no set of tags")
	}
	if b[head-1] != version {
		return malformed("version %d, not %d", b[head-1], version)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[len(body):]) {
		return malformed("wrong checksum")
	}
	var spans []Span
	var end valuestore.Tag
	for body = body[head:]; len(body) > 0; {
		var p [3]uint64
		for i := range p {
			x, n, err := varint.FromUvarint(body)
			if err != nil {
				return malformed("span %d: %v", len(spans), err)
			}
			p[i], body = x, body[n:]
		}
		left := uint64(valuestore.MaxTag - end)
		if p[0] == 0 || p[0] > left || p[1] > left-p[0] {
			return malformed("span %d is out of order", len(spans))
		}
		s := Span{From: end + valuestore.Tag(p[0]), Gen: p[2]}
		s.To = s.From + valuestore.Tag(p[1])
		if n := len(spans); n > 0 && spans[n-1].Gen == s.Gen && p[0] == 1 {
			return malformed("span %d goes on with the one before it", n)
		}
		spans, end = append(spans, s), s.To
	}
	return of(spans), nil
}

// FromMap returns the set of tags with their generations.
func FromMap(tags map[valuestore.Tag]uint64) *Set {
	spans := make([]Span, 0, len(tags))
	for tag, gen := range tags {
		spans = append(spans, Span{tag, tag, gen})
	}
	sortSpans(spans)
	return of(overlay(spans, nil))
}
