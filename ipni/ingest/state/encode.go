package state

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

// version is the first byte of each value.
const version = 1

// Limits of what rows hold.
const (
	maxText    = 1024    // bytes of a reason
	maxAddr    = 1 << 10 // bytes of an address
	maxAddrs   = 128
	maxCID     = 128
	maxSegment = 1 << 20 // advertisements
	maxLeft    = 1 << 16 // blocks of entries
)

// Cut shortens a text to what a row may hold.
func Cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func malformed(what string, at int) error {
	return fmt.Errorf("state: malformed %s at byte %d: %w", what, at, digest.ErrMismatch)
}

// writer appends fields.
type writer []byte

func begin() writer { return writer{version} }

func (w *writer) num(n uint64)     { *w = binary.AppendUvarint(*w, n) }
func (w *writer) time(t time.Time) { w.num(uint64(seconds(t))) }
func (w *writer) cid(c cid.Cid)    { w.bytes(c.Bytes()) }
func (w *writer) text(s string)    { w.bytes([]byte(Cut(s))) }

func (w *writer) bytes(b []byte) {
	w.num(uint64(len(b)))
	*w = append(*w, b...)
}

// bits packs flags.
func (w *writer) bits(flags ...bool) {
	var n uint64
	for i, f := range flags {
		if f {
			n |= 1 << i
		}
	}
	w.num(n)
}

// reader takes fields; after an error the rest are zero.
type reader struct {
	what string
	all  []byte
	at   int
	err  error
}

// read begins to read a row, of version 1 unless versions says which are good.
func read(what string, data []byte, versions ...byte) *reader {
	r := &reader{what: what, all: data, at: 1}
	if versions == nil {
		versions = []byte{version}
	}
	if len(data) == 0 || !slices.Contains(versions, data[0]) {
		r.fail()
	}
	return r
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = malformed(r.what, r.at)
	}
}

func (r *reader) num() uint64 {
	if r.err != nil {
		return 0
	}
	n, size := binary.Uvarint(r.all[r.at:])
	if size <= 0 || size > 1 && r.all[r.at+size-1] == 0 { // not the shortest form
		r.fail()
		return 0
	}
	r.at += size
	return n
}

func (r *reader) upTo(limit uint64) uint64 {
	n := r.num()
	if n > limit {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) time() time.Time {
	if n := r.upTo(1 << 40); n != 0 {
		return time.Unix(int64(n), 0).UTC()
	}
	return time.Time{}
}

func (r *reader) bytes(limit uint64) []byte {
	n := r.upTo(limit)
	if r.err != nil || n > uint64(len(r.all)-r.at) {
		r.fail()
		return nil
	}
	b := r.all[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) text() string { return string(r.bytes(maxText)) }

func (r *reader) cid() cid.Cid {
	b := r.bytes(maxCID)
	if r.err != nil || len(b) == 0 {
		return cid.Undef
	}
	n, c, err := cid.CidFromBytes(b)
	if err != nil || n != len(b) {
		r.fail()
		return cid.Undef
	}
	return c
}

// cids reads a list of at most limit CIDs.
func (r *reader) cids(limit uint64) []cid.Cid {
	n := r.upTo(min(limit, uint64(len(r.all))))
	all := make([]cid.Cid, 0, n)
	for range n {
		c := r.cid()
		if !c.Defined() {
			r.fail()
			break
		}
		all = append(all, c)
	}
	return all
}

func (r *reader) bits(flags ...*bool) {
	n := r.upTo(1<<len(flags) - 1)
	for i, f := range flags {
		*f = n&(1<<i) != 0
	}
}

func (r *reader) tag() (t Tag) {
	b := r.bytes(uint64(len(t)))
	if len(b) != len(t) {
		r.fail()
		return t
	}
	return Tag(b)
}

func (r *reader) end() error {
	if r.err == nil && r.at != len(r.all) {
		r.fail()
	}
	return r.err
}

func number(n uint64) []byte {
	w := begin()
	w.num(n)
	return w
}

func decodeNumber(data []byte) (uint64, error) {
	r := read("number", data)
	n := r.num()
	return n, r.end()
}
