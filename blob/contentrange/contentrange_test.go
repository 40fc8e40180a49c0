package contentrange_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/blob/contentrange"
)

func Example() {
	r, err := contentrange.Parse("bytes 10-14/100")
	fmt.Println(r.First, r.Len(), r.Size, err)
	_, err = contentrange.Parse("bytes 10-14/*")
	fmt.Println(err)
	// Output:
	// 10 5 100 <nil>
	// the server does not tell the size of the object
}

func TestParse(t *testing.T) {
	for s, want := range map[string]contentrange.Range{
		"bytes 0-0/1":     {First: 0, Last: 0, Size: 1},
		"bytes 5-9/10":    {First: 5, Last: 9, Size: 10},
		"bytes 005-9/010": {First: 5, Last: 9, Size: 10},
		"bytes 0-9223372036854775806/9223372036854775807": {First: 0, Last: math.MaxInt64 - 1, Size: math.MaxInt64},
	} {
		if got, err := contentrange.Parse(s); got != want || err != nil {
			t.Errorf("%q is %+v, %v", s, got, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, s := range []string{
		"", "bytes", "bytes ", "bytes */10", "bytes 3-2/10", "bytes 3-2/*", "bytes 0-10/10", "bytes +0-1/2", "bytes 0-1/+2", "bytes -0-1/2",
		"bytes 0-1/2 ", "bytes  0-1/2", "bytes=0-1/2", "items 0-1/2", "bytes 0-1", "bytes 0-1/", "bytes 0-/2", "bytes -1/2", "bytes 1/2",
		"bytes x-1/*", "bytes 1_0-11/20", "bytes 0x0-1/2", "bytes 0-9223372036854775808/9223372036854775809",
		"bytes 0-1/" + strings.Repeat("9", 1000), strings.Repeat("x", 1000),
	} {
		r, err := contentrange.Parse(s)
		if err == nil || errors.Is(err, contentrange.ErrSize) || len(err.Error()) > 200 {
			t.Errorf("%q: %+v, %v", s, r, err)
		}
	}
	if r, err := contentrange.Parse("bytes 0-1/*"); err != contentrange.ErrSize {
		t.Errorf("without a size: %+v, %v", r, err)
	}
}

func TestAnswers(t *testing.T) {
	r := contentrange.Range{First: 10, Last: 19, Size: 20}
	for _, tt := range []struct {
		off, n int64
		want   bool
	}{{10, 10, true}, {10, 11, true}, {10, -1, true}, {10, 9, false}, {9, 10, false}, {11, 9, false}, {0, -1, false}, {20, 0, false}, {30, 5, false}} {
		if got := r.Answers(tt.off, tt.n); got != tt.want {
			t.Errorf("%v answers %d bytes from %d: %t", r, tt.n, tt.off, got)
		}
	}
	if r.Size++; r.Answers(10, -1) || !r.Answers(10, 10) {
		t.Errorf("%v: the last byte is missing", r)
	}
}

func TestUnsatisfied(t *testing.T) {
	for s, want := range map[string]int64{
		"bytes */0": 0, "bytes */10": 10, "bytes */9223372036854775807": math.MaxInt64,
		"bytes */9223372036854775808": -1, "bytes */": -1, "bytes */-1": -1, "bytes *": -1, "10": -1, "": -1, "bytes 0-1/2": -1,
	} {
		if got, err := contentrange.ParseUnsatisfied(s); (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q is %d, %v", s, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"bytes 0-0/1", "bytes 5-9/10", "bytes 0-9/10", "bytes 0-9223372036854775806/9223372036854775807",
		"bytes */10", "bytes 0-1/*", "bytes 3-2/10", "bytes 0-10/10", "bytes +0-1/2", "bytes 0-1/2 ", "bytes  0-1/2", "items 0-1/2", "",
		"bytes 0-9223372036854775808/9223372036854775809",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := contentrange.Parse(s)
		if err != nil {
			return
		}
		if r.First < 0 || r.Last < r.First || r.Size <= r.Last || r.Len() <= 0 {
			t.Errorf("%q is %v", s, r)
		}
		// Leading zeros are all that may differ.
		if again, err := contentrange.Parse(r.String()); again != r || err != nil {
			t.Errorf("%q: %v, %v", r.String(), again, err)
		}
		if len(s) == len(r.String()) && s != r.String() {
			t.Errorf("%q was taken for %q", s, r)
		}
	})
}
