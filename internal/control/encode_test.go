package control

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

func dec(b []byte) decoder { return newDecoder(bytes.NewReader(b)) }

// TestVectors pins the bytes of each message: two versions of the program may meet.
func TestVectors(t *testing.T) {
	ops, err := appendOps(nil, []kv.Op{kv.Put([]byte("k"), []byte("vv")), kv.Delete([]byte("d")), kv.DeleteRange(kv.Range{From: []byte("a"), To: []byte("b")})})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, got, want string }{
		{"ops", string(ops), "\x03\x00\x01k\x02vv\x01\x01d\x02\x01a\x01\x01b"},
		{"open range", string(appendRange(nil, kv.Range{From: []byte("a")})), "\x01a\x00"},
		{"closed range", string(appendRange(nil, kv.Range{To: []byte{}})), "\x00\x01\x00"},
		{"swap", string(appendSwap(nil, swap{[]byte("k"), nil, []byte("n")})), "\x01k\x00\x01\x01n"},
		{"error", string(appendError(nil, digest.ErrMismatch)), "\x02\xa6\x03!content does not match its digest"},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"empty", "", io.ErrUnexpectedEOF},
		{"cut", "\x01\x00\x02k", io.ErrUnexpectedEOF},
		{"long varint", "\x01\x00\x81\x00kv", ErrMalformed},
		{"overflow", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", ErrMalformed},
		{"many ops", "\xff\xff\xff\xff\x7f", ErrTooLarge},
		{"long key", "\x01\x00\xff\xff\xff\x7f", ErrTooLarge},
		{"long value", "\x01\x00\x01k\xff\xff\xff\xff\x7f", ErrTooLarge},
		{"kind", "\x01\x03\x01k", ErrMalformed},
		{"presence", "\x01\x02\x01a\x02\x01b", ErrMalformed},
		{"trailing", "\x01\x01\x01kx", ErrMalformed},
	} {
		if ops, err := dec([]byte(tt.in)).ops(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.name, ops, err, tt.want)
		}
	}
	for in, want := range map[string]error{"": io.ErrUnexpectedEOF, "\x00": io.EOF, "\x00x": ErrMalformed, "\x01": nil, "\x03": ErrMalformed,
		"\x02\xa6\x03\x01t": digest.ErrMismatch, "\x02\xa6\x03\x01tx": ErrMalformed, "\x02": io.ErrUnexpectedEOF} {
		if err := dec([]byte(in)).next(); err != want && !errors.Is(err, want) {
			t.Errorf("part %q: %v, want %v", in, err, want)
		}
	}
}

// FuzzDecode: what decodes encodes to the same bytes, in every message.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x03\x00\x01k\x02vv\x01\x01d\x02\x01a\x01\x01b"))
	f.Add([]byte("\x01a\x00"))
	f.Add([]byte("\x01k\x00\x01\x01n"))
	f.Add([]byte("\x02\xa6\x03\x01t"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if ops, err := dec(in).ops(); err == nil {
			if out, err := appendOps(nil, ops); err != nil || !bytes.Equal(in, out) {
				t.Errorf("ops: %x became %x (%v)", in, out, err)
			}
		}
		if r, err := dec(in).scanRange(); err == nil {
			if out := appendRange(nil, r); !bytes.Equal(in, out) {
				t.Errorf("range: %x became %x", in, out)
			}
		}
		if s, err := dec(in).swap(); err == nil {
			if out := appendSwap(nil, s); !bytes.Equal(in, out) {
				t.Errorf("swap: %x became %x", in, out)
			}
		}
		d := dec(in)
		for d.next() == nil {
			if _, err := d.pair(); err != nil {
				break
			}
		}
	})
}
