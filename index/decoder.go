package index

import (
	"fmt"
	"math"
)

// maxVarint is the longest number in bytes: 63 bits, so that none is shifted out.
const maxVarint = 9

// decoder takes values off the front of b. The first failure sticks; after it
// everything reads as zero.
type decoder struct {
	b   string
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	d.b = ""
}

func (d *decoder) take(n int) string {
	if n > len(d.b) {
		d.fail("ends early")
		return ""
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) byte() byte {
	s := d.take(1)
	if s == "" {
		return 0
	}
	return s[0]
}

// int reads a canonical uvarint that fits an int64 with room to add.
func (d *decoder) int() int64 {
	var v uint64
	for i := 0; i < len(d.b) && i < maxVarint; i++ {
		c := d.b[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c >= 0x80 {
			continue
		}
		if (c == 0 && i > 0) || v > math.MaxInt64/4 {
			break
		}
		d.b = d.b[i+1:]
		return int64(v)
	}
	d.fail("bad number")
	return 0
}

// index reads a number below n.
func (d *decoder) index(n int) int {
	v := d.int()
	if d.err == nil && v >= int64(n) {
		d.fail("%d, want less than %d", v, n)
		return 0
	}
	return int(v)
}

// count reads a number of things, at most limit and never more than bytes are left.
func (d *decoder) count(limit int) int {
	n := d.index(limit + 1)
	if n > len(d.b) {
		d.fail("%d things in %d bytes", n, len(d.b))
		return 0
	}
	return n
}

// cid reads a binary CID: 34 bytes that begin with 0x1220 for version 0, else
// version 1, codec and multihash.
func (d *decoder) cid() string {
	rest := d.b
	if len(rest) >= 2 && rest[0] == 0x12 && rest[1] == 0x20 {
		return d.take(34)
	}
	if d.int() != 1 {
		d.fail("CID of an unknown version")
		return ""
	}
	d.int() // codec
	d.int() // hash function
	d.take(d.index(math.MaxInt16))
	return rest[:len(rest)-len(d.b)]
}
