package car_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
)

func TestHeaderVector(t *testing.T) {
	// The header of the specification's fixture carv1-basic.
	root := cid.MustParse("bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm")
	second := cid.MustParse("bafyreidj5idub6mapiupjwjsyyxhyhedxycv4vihfsicm2vt46o7morwlm")
	const want = "63a265726f6f747382d82a58250001711220f88bc853804cf294fe417e4fa83028689fcdb1b1592c5102e1474dbc200fab8b" +
		"d82a5825000171122069ea0740f9807a28f4d932c62e7c1c83be055e55072c90266ab3e79df63a365b6776657273696f6e01"
	if got := fmt.Sprintf("%x", car.AppendHeader(nil, root, second)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestMalformed feeds broken archives to a seeking and to a streaming reader.
func TestMalformed(t *testing.T) {
	b := newBlock(t, []byte("hello"))
	head := string(car.AppendHeader(nil, b.CID))
	section := string(car.AppendHead(nil, b.CID, 5)) + "hello"
	id := b.CID.KeyString()
	header := func(cbor string) string { return string(rune(len(cbor))) + cbor }
	link := "\xd8\x2a\x58\x25\x00" + id
	tests := []struct {
		name, in string
		want     error
	}{
		{"empty", "", car.ErrTruncated},
		{"half a header", head[:20], car.ErrTruncated},
		{"half a varint", "\x80", car.ErrTruncated},
		{"zero header", "\x00", car.ErrMalformed},
		{"huge header", "\xff\xff\xff\xff\x7f", car.ErrMalformed},
		{"oversized varint", strings.Repeat("\xff", 9) + "\x01", car.ErrMalformed},
		{"long form of a varint", "\xba\x00" + head[1:], car.ErrMalformed},
		{"not CBOR", header("hello"), car.ErrMalformed},
		{"version 2 with roots", header("\xa2\x65roots\x80\x67version\x02"), car.ErrMalformed},
		{"version 1 without roots", header("\xa1\x67version\x01"), car.ErrMalformed},
		{"version 3", header("\xa1\x67version\x03"), car.ErrMalformed},
		{"version in two bytes", header("\xa2\x65roots\x80\x67version\x18\x01"), car.ErrMalformed},
		{"keys in the other order", header("\xa2\x67version\x01\x65roots\x80"), car.ErrMalformed},
		{"third key", header("\xa3\x65roots\x80\x67version\x01\x61x\x01"), car.ErrMalformed},
		{"indefinite roots", header("\xa2\x65roots\x9f\xff\x67version\x01"), car.ErrMalformed},
		{"roots are text", header("\xa2\x65roots\x60\x67version\x01"), car.ErrMalformed},
		{"long form of a count", header("\xa2\x65roots\x98\x00\x67version\x01"), car.ErrMalformed},
		{"lying count", header("\xa2\x65roots\x9a\x7f\xff\xff\xff\x67version\x01"), car.ErrMalformed},
		{"root without tag", header("\xa2\x65roots\x81\x58\x25\x00" + id + "\x67version\x01"), car.ErrMalformed},
		{"root without prefix", header("\xa2\x65roots\x81\xd8\x2a\x58\x24" + id + "\x67version\x01"), car.ErrMalformed},
		{"root with another prefix", header("\xa2\x65roots\x81\xd8\x2a\x58\x25\x01" + id + "\x67version\x01"), car.ErrMalformed},
		{"root longer than the header", header("\xa2\x65roots\x81\xd8\x2a\x59\xff\xff\x00" + id), car.ErrMalformed},
		{"fewer roots than counted", header("\xa2\x65roots\x82" + link + "\x67version\x01"), car.ErrMalformed},
		{"bytes after the version", header("\xa2\x65roots\x80\x67version\x01\x00"), car.ErrMalformed},
		{"section of zero length", head + section + "\x00", car.ErrMalformed},
		{"zero padding", head + section + strings.Repeat("\x00", 100), car.ErrMalformed},
		{"oversized section varint", head + strings.Repeat("\x80", 9) + "\x01", car.ErrMalformed},
		{"long form of a section varint", head + "\xa9\x00" + id + "hello", car.ErrMalformed},
		{"section shorter than its CID", head + "\x0a" + id + "hello", car.ErrMalformed},
		{"garbage for a CID", head + section + "\x09\xffgarbage!", car.ErrMalformed},
		{"CID version 2", head + "\x29\x02" + id[1:] + "hello", car.ErrMalformed},
		{"hash of endless length", head + "\xac\x02\x01\x55\x12\xff\x01" + strings.Repeat("x", 300), car.ErrMalformed},
		{"ends in a section varint", head + section + "\x80", car.ErrTruncated},
		{"ends in a CID", head + section[:20], car.ErrTruncated},
		{"ends in data", head + section[:len(section)-1], car.ErrTruncated},
		{"lying length", head + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + id + "hello", car.ErrTruncated},
	}
	for _, test := range tests {
		for name, r := range map[string]io.Reader{
			"seeker": strings.NewReader(test.in), "stream": stream{strings.NewReader(test.in)},
		} {
			_, err := skipAll(r)
			if test.name == "lying length" && name == "stream" {
				err = orMalformed(err)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%s (%s): %v, want %v", test.name, name, err, test.want)
			}
			if errors.Is(err, car.ErrTruncated) != errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s (%s): %v does not match io.ErrUnexpectedEOF", test.name, name, err)
			}
		}
	}
}

func TestZeroLengthIsNamed(t *testing.T) {
	raw := append(encode(t, nil), 0)
	_, err := skipAll(bytes.NewReader(raw))
	_, errAt := car.SectionAt(bytes.NewReader(raw), int64(len(raw)-1), int64(len(raw)))
	for _, err := range []error{err, errAt} {
		if want := fmt.Sprintf("car: read section at %d: malformed car: section of zero length", len(raw)-1); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// orMalformed accepts that a stream of unknown size cannot have 2⁶³ bytes.
func orMalformed(err error) error {
	if errors.Is(err, car.ErrMalformed) {
		return car.ErrTruncated
	}
	return err
}

func TestEveryTruncationIsSeen(t *testing.T) {
	raw := encode(t, []cid.Cid{newBlock(t, nil).CID}, blocksOf(t, 10, 200, 0)...)
	clean := map[int]bool{} // where sections end
	end := len(car.AppendHeader(nil, newBlock(t, nil).CID))
	clean[end] = true
	sections, err := skipAll(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		clean[int(s.Offset+s.Size)] = true
	}
	for n := range raw {
		for _, r := range []io.Reader{bytes.NewReader(raw[:n]), stream{bytes.NewReader(raw[:n])}} {
			_, err := skipAll(r)
			if clean[n] != (err == nil) || (err != nil && !errors.Is(err, car.ErrTruncated)) {
				t.Errorf("cut at %d of %d: %v", n, len(raw), err)
			}
		}
	}
}
