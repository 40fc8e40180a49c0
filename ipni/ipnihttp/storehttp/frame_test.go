package storehttp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

func readAll(r io.Reader) (out []storehttp.Frame, err error) {
	for in := storehttp.NewReader(r); ; {
		f, err := in.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		f.Records = bytes.Clone(f.Records)
		out = append(out, f)
	}
}

// The stream in docs/formats/records.md, and the same with a mark.
const (
	vectorFrame = "6873720176010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202" +
		"000000000000000700000023" + "1f1c058c" + "0303030303030303030303030303030303030303030303030303030303030303" + "026869"
	zeros  = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	vector = vectorFrame + "65" + zeros + "000000000000000100000000" + "fca6ad1e"
	marked = vectorFrame + "77" + zeros + "000000000000000100000000" + "ddb787fb" + "65" + zeros + "000000000000000200000000" + "b4951dea"
)

func TestVector(t *testing.T) {
	var f storehttp.Frame
	f.Kind, f.Group.Epoch = storehttp.Values, 7
	copy(f.Group.Provider[:], bytes.Repeat([]byte{1}, 16))
	copy(f.Group.Context[:], bytes.Repeat([]byte{2}, 32))
	f.Records = valuestore.Records(nil).Append(dhash.Key(bytes.Repeat([]byte{3}, 32)), []byte("hi"))
	if got := hex.EncodeToString(frames(t, f)); got != vector {
		t.Errorf("got %s", got)
	}
	if got := hex.EncodeToString(frames(t, f, storehttp.Frame{Kind: storehttp.Mark})); got != marked {
		t.Errorf("got %s", got)
	}
}

// TestMarks: a mark counts what is before it, and there is none of nothing.
func TestMarks(t *testing.T) {
	f := storehttp.Frame{Kind: storehttp.Values, Group: group(1), Records: records(1)}
	mark := storehttp.Frame{Kind: storehttp.Mark}
	one, two := frames(t, f, mark), frames(t, f, f, mark)
	const head, end = 4, 65
	body := one[head : len(one)-2*end]
	first, second := one[len(one)-2*end:len(one)-end], two[len(two)-2*end:len(two)-end]
	none := bytes.Clone(first)
	none[1+48+7] = 0
	binary.BigEndian.PutUint32(none[end-4:], crc32.Checksum(none[:end-4], crc32.MakeTable(crc32.Castagnoli)))
	for name, parts := range map[string][][]byte{
		"of nothing": {one[:head], first},
		"of none":    {one[:head], none},
		"twice":      {one[:head], body, first, first},
		"too many":   {one[:head], body, second},
		"too few":    {one[:head], body, body, first},
	} {
		if _, err := readAll(bytes.NewReader(bytes.Join(parts, nil))); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := readAll(bytes.NewReader(two)); err != nil || len(got) != 3 {
		t.Errorf("%d frames, %v", len(got), err)
	}
}

// TestDamage changes, cuts and adds single bytes.
func TestDamage(t *testing.T) {
	stream := frames(t,
		storehttp.Frame{Kind: storehttp.Mark}, // of nothing: it is not written
		storehttp.Frame{Kind: storehttp.Values, Group: group(1), Records: records(2)},
		storehttp.Frame{Kind: storehttp.Mark},
		storehttp.Frame{Kind: storehttp.Mark},
		storehttp.Frame{Kind: storehttp.Metadata, Records: valuestore.Records(nil).Append(dhash.Key{1}, make([]byte, 1052))})
	if got, err := readAll(bytes.NewReader(stream)); err != nil || len(got) != 3 || got[1].Kind != storehttp.Mark {
		t.Fatalf("%d frames, %v", len(got), err)
	}
	for i := range stream {
		bad := bytes.Clone(stream)
		bad[i] ^= 1
		if _, err := readAll(bytes.NewReader(bad)); err == nil {
			t.Fatalf("byte %d changed", i)
		}
		if _, err := readAll(bytes.NewReader(stream[:i])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	one, two := frames(t, storehttp.Frame{Kind: storehttp.Values, Records: records(1)}), stream
	const end = 65
	if _, err := readAll(bytes.NewReader(append(one[:len(one)-end:len(one)-end], two[len(two)-end:]...))); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a frame is missing: %v", err)
	}
	if _, err := readAll(bytes.NewReader(append(stream, 0))); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a byte too much: %v", err)
	}
}

// TestFrameMemory says a large length, and sends nothing.
func TestFrameMemory(t *testing.T) {
	stream, err := hex.DecodeString(vector)
	if err != nil {
		t.Fatal(err)
	}
	stream = stream[:73]
	copy(stream[61:], []byte{0x00, 0x40, 0x00, 0x00}) // 4 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := readAll(bytes.NewReader(stream)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / 100; per > 256<<10 {
		t.Errorf("%d bytes for nothing", per)
	}
	copy(stream[61:], []byte{0x00, 0x40, 0x00, 0x01})
	if _, err := readAll(bytes.NewReader(stream)); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("too large: %v", err)
	}
}

// FuzzFrames wants what is read to be written to the same bytes.
func FuzzFrames(f *testing.F) {
	stream, err := hex.DecodeString(vector)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stream)
	f.Add(frames(f, storehttp.Frame{Kind: storehttp.Values, Records: records(1)}, storehttp.Frame{Kind: storehttp.Mark}, storehttp.Frame{Kind: storehttp.Values, Group: group(1), Records: records(1)}))
	f.Add(frames(f, storehttp.Frame{Kind: storehttp.Metadata, Records: valuestore.Records(nil).Append(dhash.Key{1}, nil)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(bytes.NewReader(data))
		if err != nil {
			return
		}
		if again := frames(t, got...); !bytes.Equal(again, data) {
			t.Fatalf("%x became %x", data, again)
		}
	})
}

func ExampleWriter() {
	var b bytes.Buffer
	w := storehttp.NewWriter(&b)
	if err := w.Write(storehttp.Frame{Kind: storehttp.Values, Records: valuestore.Records(nil).Append(dhash.Key{1}, []byte("value"))}); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	for r := storehttp.NewReader(&b); ; {
		f, err := r.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		n, err := f.Records.Check()
		fmt.Println(n, err)
	}
	// Output:
	// 1 <nil>
	// EOF
}
