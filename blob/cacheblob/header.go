package cacheblob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/zeebo/blake3"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
)

const (
	magic     = "hscache\x01"
	fixedSize = 8 + 4 + 4 + 8 + 8 + 8 + 32 + 4*2
	sumSize   = 16
	maxString = 4096 // bytes of a key, a version, an identity, or a store's name
	maxHeader = fixedSize + 4*maxString + sumSize
)

// header stands before the bytes of a page in its file. All numbers are big-endian:
//
//	magic      8 bytes
//	length     4, of the header
//	payload    4, length of the page
//	page       8, number of the page in its object
//	size       8, of the object
//	modified   8, time in ns since 1970, the smallest number for none
//	sum       32, BLAKE3 of the page
//	lengths  4×2, of the strings
//	strings       name of the store, key, version, identity
//	check     16, first bytes of the BLAKE3 of all that
type header struct {
	store   string
	page    int64
	payload int
	sum     [32]byte
	info    blob.Info
}

// fits reports whether a header can hold an info.
func fits(store string, i blob.Info) bool {
	return len(store) <= maxString && len(i.Key) <= maxString && len(i.Version) <= maxString && len(i.Identity) <= maxString
}

func (h *header) strings() [4]string {
	return [4]string{h.store, h.info.Key, h.info.Version, h.info.Identity}
}

func (h *header) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(h.payload))
	b = binary.BigEndian.AppendUint64(b, uint64(h.page))
	b = binary.BigEndian.AppendUint64(b, uint64(h.info.Size))
	modified := int64(math.MinInt64)
	if !h.info.ModTime.IsZero() {
		modified = h.info.ModTime.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(modified))
	b = append(b, h.sum[:]...)
	for _, s := range h.strings() {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	}
	for _, s := range h.strings() {
		b = append(b, s...)
	}
	binary.BigEndian.PutUint32(b[start+8:], uint32(len(b)-start+sumSize))
	sum := blake3.Sum256(b[start:])
	return append(b, sum[:sumSize]...)
}

var errHeader = errors.New("not the header of a page")

// headerLen reads the length of a header from its beginning.
func headerLen(b []byte) (int, error) {
	if len(b) < fixedSize+sumSize || string(b[:8]) != magic {
		return 0, errHeader
	}
	n := binary.BigEndian.Uint32(b[8:])
	if n < fixedSize+sumSize || n > maxHeader {
		return 0, errHeader
	}
	return int(n), nil
}

// parseHeader decodes b, which is a header and nothing else.
func parseHeader(b []byte) (h header, err error) {
	n, err := headerLen(b)
	if err != nil || n != len(b) {
		return h, errHeader
	}
	body, check := b[:n-sumSize], b[n-sumSize:]
	if sum := blake3.Sum256(body); string(sum[:sumSize]) != string(check) {
		return h, fmt.Errorf("the header of a page: %w", digest.ErrMismatch)
	}
	payload := binary.BigEndian.Uint32(b[12:])
	h.page = int64(binary.BigEndian.Uint64(b[16:]))
	h.info.Size = int64(binary.BigEndian.Uint64(b[24:]))
	if payload == 0 || payload > maxPageSize || h.page < 0 || h.info.Size < 0 {
		return h, errHeader
	}
	h.payload = int(payload)
	if m := int64(binary.BigEndian.Uint64(b[32:])); m != math.MinInt64 {
		h.info.ModTime = time.Unix(0, m).UTC()
	}
	copy(h.sum[:], b[40:])
	rest := body[fixedSize:]
	for i, s := range []*string{&h.store, &h.info.Key, &h.info.Version, &h.info.Identity} {
		n := int(binary.BigEndian.Uint16(b[72+2*i:]))
		if n > len(rest) || n > maxString {
			return h, errHeader
		}
		*s, rest = string(rest[:n]), rest[n:]
	}
	if len(rest) != 0 {
		return h, errHeader
	}
	return h, nil
}
