package unixfs

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashstream/hashstream/block"
)

// Decode reads a block of codec raw or dag-pb. It takes memory in proportion to
// the block, whatever sizes the block claims. An error matches [ErrNotUnixFS] or
// [ErrMalformed].
func Decode(b block.Block) (*Node, error) {
	n, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("unixfs: decode %s: %w", b.CID, err)
	}
	return n, nil
}

func decode(b block.Block) (*Node, error) {
	switch codec := b.CID.Type(); {
	case len(b.Data) > block.MaxSize:
		return nil, block.ErrTooLarge
	case codec == cid.Raw:
		return &Node{Type: Raw, Data: b.Data, FileSize: int64(len(b.Data))}, nil
	case codec != cid.DagProtobuf:
		return nil, fmt.Errorf("codec 0x%x: %w", codec, ErrNotUnixFS)
	}
	data, links, err := parseNode(b.Data)
	if err != nil {
		return nil, err
	}
	n := &Node{Links: links}
	m := message{Node: n, kind: -1}
	if err := m.parse(data); err != nil {
		return nil, err
	}
	return n, m.check()
}

// DecodeLinks returns the links of a dag-pb node, with or without UnixFS data.
func DecodeLinks(data []byte) ([]Link, error) {
	if len(data) > block.MaxSize {
		return nil, fmt.Errorf("unixfs: decode links: %w", block.ErrTooLarge)
	}
	_, links, err := parseNode(data)
	if err != nil {
		return nil, fmt.Errorf("unixfs: decode links: %w", err)
	}
	return links, nil
}

// malformed says what is wrong with a node.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// fields calls field for each field of a protobuf message: with a number for
// varints, with bytes for the other wire types (fixed ones in little endian).
func fields(b []byte, field func(num protowire.Number, kind protowire.Type, v uint64, data []byte) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed("%v", protowire.ParseError(n))
		}
		if num > protowire.MaxValidNumber { // which ConsumeTag allows for the sake of MessageSet
			return malformed("field %d: there are no such numbers", num)
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			if n = protowire.ConsumeFieldValue(num, kind, b); n > 0 {
				data = b[:n]
			}
		}
		if n < 0 {
			return malformed("field %d: %v", num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := field(num, kind, v, data); err != nil {
			return err
		}
	}
	return nil
}

// parseNode reads the dag-pb envelope: links and data, in either order, and
// nothing else. data is nil where the field is absent.
func parseNode(b []byte) (data []byte, links []Link, err error) {
	links = make([]Link, 0, countLinks(b))
	last := protowire.Number(0)
	err = fields(b, func(num protowire.Number, kind protowire.Type, _ uint64, value []byte) error {
		defer func() { last = num }()
		switch {
		case num == 1 && kind == protowire.BytesType && data == nil:
			data = value[:len(value):len(value)]
			return nil
		case num == 2 && kind == protowire.BytesType && (last == 2 || len(links) == 0):
			link, err := parseLink(value)
			links = append(links, link)
			return err
		}
		return malformed("field %d of type %d does not belong in a dag-pb node", num, kind)
	})
	if err != nil {
		return nil, nil, err
	}
	return data, links, nil
}

// countLinks sizes the list of links, so that it is allocated once.
func countLinks(b []byte) (n int) {
	for len(b) > 0 {
		num, kind, size := protowire.ConsumeField(b)
		if size < 0 {
			break
		}
		if num == 2 && kind == protowire.BytesType {
			n++
		}
		b = b[size:]
	}
	return n
}

// parseLink reads Hash, Name and Tsize, which stand in this order if present.
func parseLink(b []byte) (l Link, err error) {
	last := protowire.Number(0)
	err = fields(b, func(num protowire.Number, kind protowire.Type, v uint64, value []byte) error {
		if num <= last || num > 3 || (kind == protowire.VarintType) != (num == 3) || kind > protowire.BytesType || kind == protowire.Fixed64Type {
			return malformed("field %d of type %d does not belong in a dag-pb link after field %d", num, kind, last)
		}
		last = num
		switch num {
		case 1:
			var n int
			if n, l.CID, err = cid.CidFromBytes(value); err != nil || n != len(value) {
				return malformed("a link is no CID: %x", value[:min(len(value), 64)])
			}
		case 2:
			l.Name = string(value)
		case 3:
			l.Tsize = v
		}
		return nil
	})
	if err == nil && !l.CID.Defined() {
		err = malformed("a link has no CID")
	}
	return l, err
}

// message collects the fields of the UnixFS message that the node does not keep.
type message struct {
	*Node
	kind     int64 // the type, -1 if absent
	size     int64 // the file size, -1 if absent
	hashType uint64
	fanout   uint64
}

func (m *message) parse(data []byte) error {
	if data == nil {
		return fmt.Errorf("dag-pb without data: %w", ErrNotUnixFS)
	}
	m.size = -1
	if err := fields(data, m.field); err != nil {
		return fmt.Errorf("%w: %w", ErrNotUnixFS, err)
	}
	if m.kind < 0 || m.kind > int64(HAMT) {
		return fmt.Errorf("type %d: %w", m.kind, ErrNotUnixFS)
	}
	m.Type = Type(m.kind)
	return nil
}

// field reads one field. As usual for protobuf the last of several wins and
// unknown fields are skipped, so that later versions of UnixFS can be read.
func (m *message) field(num protowire.Number, kind protowire.Type, v uint64, data []byte) error {
	want := protowire.VarintType
	switch num {
	case 2, 8:
		want = protowire.BytesType
	case 4: // repeated numbers may also be packed
		if kind == protowire.BytesType {
			return m.packed(data)
		}
	}
	if num <= 8 && kind != want {
		return malformed("field %d has type %d", num, kind)
	}
	switch num {
	case 1:
		m.kind = int64(min(v, math.MaxInt64))
	case 2:
		m.Data = data[:len(data):len(data)]
	case 3:
		m.size = int64(min(v, math.MaxInt64))
	case 4:
		m.blockSize(v)
	case 5:
		m.hashType = v
	case 6:
		m.fanout = v
	case 7:
		m.Mode = uint32(v)
	case 8:
		return m.modTime(data)
	}
	return nil
}

func (m *message) packed(data []byte) error {
	for len(data) > 0 {
		v, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return malformed("block sizes: %v", protowire.ParseError(n))
		}
		m.blockSize(v)
		data = data[n:]
	}
	return nil
}

// blockSize keeps one number more than there are links: enough to see that there
// are too many.
func (m *message) blockSize(v uint64) {
	if m.BlockSizes == nil {
		m.BlockSizes = make([]uint64, 0, len(m.Links)+1)
	}
	if len(m.BlockSizes) <= len(m.Links) {
		m.BlockSizes = append(m.BlockSizes, v)
	}
}

// modTime reads seconds and nanoseconds. A time with nanoseconds out of range
// counts as absent.
func (m *message) modTime(data []byte) error {
	var seconds int64
	var nanos uint32
	found := false
	err := fields(data, func(num protowire.Number, kind protowire.Type, v uint64, value []byte) error {
		switch {
		case num == 1 && kind == protowire.VarintType:
			seconds, found = int64(v), true
		case num == 2 && kind == protowire.Fixed32Type:
			nanos, _ = protowire.ConsumeFixed32(value)
		case num <= 2:
			return malformed("field %d of a time has type %d", num, kind)
		}
		return nil
	})
	if err == nil && !found {
		err = malformed("a time without seconds")
	}
	if nanos < 1e9 {
		m.ModTime = time.Unix(seconds, int64(nanos)).UTC()
	}
	return err
}

// check holds the node against the rules of its type.
func (m *message) check() error {
	switch m.Type {
	case File, Raw:
		return m.checkFile()
	case HAMT:
		return m.checkHAMT()
	case Symlink:
		if len(m.Links) > 0 {
			return malformed("a symlink with %d links", len(m.Links))
		}
	}
	return nil
}

func (m *message) checkFile() error {
	if len(m.BlockSizes) != len(m.Links) {
		return malformed("a file with %d links and %d block sizes", len(m.Links), len(m.BlockSizes))
	}
	total := uint64(len(m.Data))
	for i, size := range m.BlockSizes {
		if m.Links[i].Name != "" {
			return malformed("a part of a file has the name %q", m.Links[i].Name)
		}
		if size > math.MaxInt64-total {
			return malformed("a file larger than 8 EiB")
		}
		total += size
	}
	if m.size >= 0 && m.size != int64(total) {
		return malformed("a file of %d bytes with parts of %d", m.size, total)
	}
	m.FileSize = int64(total)
	return nil
}

// checkHAMT holds the bitfield against the links: one for each bucket in use, in
// the order of the buckets, which their names begin with.
func (m *message) checkHAMT() error {
	if m.hashType != murmur3Code {
		return malformed("a HAMT by hash 0x%x", m.hashType)
	}
	if m.fanout > MaxHAMTFanout || !validFanout(int(m.fanout)) {
		return malformed("a HAMT with a fanout of %d", m.fanout)
	}
	m.Fanout = int(m.fanout)
	if len(m.Data)*8 > m.Fanout {
		return malformed("a HAMT of fanout %d with %d bits", m.Fanout, len(m.Data)*8)
	}
	next := 0
	for i := range m.Fanout {
		if !m.used(i) {
			continue
		}
		if next == len(m.Links) || !hasPrefix(m.Links[next].Name, prefixLen(m.Fanout), i) {
			return malformed("link %d of a HAMT is not that of bucket %d", next, i)
		}
		next++
	}
	if next != len(m.Links) {
		return malformed("a HAMT with %d links in %d buckets", len(m.Links), next)
	}
	return nil
}

func hasPrefix(name string, width, bucket int) bool {
	if len(name) < width {
		return false
	}
	v, err := strconv.ParseUint(name[:width], 16, 32)
	return err == nil && v == uint64(bucket)
}
