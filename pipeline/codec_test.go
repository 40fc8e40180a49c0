package pipeline

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
)

// roundTrip checks that what decodes encodes to the same bytes, and what does not
// says why as promised.
func roundTrip[T interface{ encode() []byte }](t *testing.T, b []byte, decode func([]byte) (T, error)) {
	t.Helper()
	v, err := decode(b)
	if err != nil {
		if !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("decode(%x): %v, want digest.ErrMismatch", b, err)
		}
		return
	}
	if got := v.encode(); !bytes.Equal(got, b) {
		t.Errorf("decode(%x) encodes to %x", b, got)
	}
}

func examples() (m message, j jobRecord, d doneRecord, f failRecord) {
	at := time.Unix(1700000000, 5)
	m = message{run: 1 << 60, round: 3, task: Task{Job: "a/b", ID: 7, Body: []byte("body")}}
	j = jobRecord{run: 1 << 60, state: StateFailed, started: at, updated: at.Add(time.Hour), tasks: 300, about: "s3://a", cause: "no"}
	d = doneRecord{at: at, counts: map[string]int64{"files": 3, "bytes": 1 << 40, "change": -5}}
	f = failRecord{round: 1, attempts: 2, failures: 7, at: at, delay: time.Second, cause: "why", dead: true, body: []byte("body")}
	return m, j, d, f
}

func TestCodec(t *testing.T) {
	m, j, d, f := examples()
	opts := cmp.AllowUnexported(message{}, jobRecord{}, doneRecord{}, failRecord{})
	check := func(got, want any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got, opts); diff != "" || err != nil {
			t.Errorf("%v, (-want +got)\n%s", err, diff)
		}
	}
	gotM, err := decodeMessage(m.encode())
	check(gotM, m, err)
	gotJ, err := decodeJob(j.encode())
	check(gotJ, j, err)
	gotD, err := decodeDone(d.encode())
	check(gotD, d, err)
	gotF, err := decodeFail(f.encode())
	check(gotF, f, err)
}

func FuzzDecode(f *testing.F) {
	m, j, d, r := examples()
	for _, b := range [][]byte{m.encode(), j.encode(), d.encode(), r.encode(), nil, {1}, {2}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		roundTrip(t, b, decodeMessage)
		roundTrip(t, b, decodeJob)
		roundTrip(t, b, decodeDone)
		roundTrip(t, b, decodeFail)
	})
}

func TestCut(t *testing.T) {
	long := string(bytes.Repeat([]byte("ä"), maxText))
	for in, want := range map[string]int{"a": 1, "a\xff": 4, long: maxText - 1, long[:maxText]: maxText} {
		if got := cut(in); len(got) != want {
			t.Errorf("cut(%.10q…) has %d bytes, want %d", in, len(got), want)
		}
	}
}
