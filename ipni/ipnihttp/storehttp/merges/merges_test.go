package merges

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// oracle is what dhstore decodes bodies with.
type oracle struct {
	Merges []struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	} `json:"merges"`
}

// records returns what encoding/json makes of body, or that no server should take it.
func (o oracle) records(body []byte) (valuestore.Records, error) {
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, err
	}
	if len(o.Merges) == 0 {
		return nil, errors.New("none")
	}
	var out valuestore.Records
	for _, m := range o.Merges {
		k, err := dhash.ParseKey(m.Key)
		if err != nil || len(m.Value) == 0 || len(m.Value) > valuestore.MaxValue {
			return nil, fmt.Errorf("key %x, value of %d bytes", m.Key, len(m.Value))
		}
		out = out.Append(k, m.Value)
	}
	return out, nil
}

func parse(r io.Reader) (valuestore.Records, error) {
	var out valuestore.Records
	var m Reader
	err := m.Read(r, func(r valuestore.Records) error { out = append(out, r...); return nil })
	return out, err
}

func key64(n byte) string {
	return base64.StdEncoding.EncodeToString(dhash.Key{n}.Multihash())
}

func body(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"merges":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"key":"%s","value":"%s"}`, key64(byte(i)), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i)}, 102)))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func seeds() []string {
	k := key64(7)
	return []string{
		string(body(1)), string(body(3)),
		" { \"merges\" :\t[ { \"value\" : \"AQID\" ,\r\n \"key\" : \"" + k + "\" } ] } \n",
		`{"a":{"b":[1,-0.5e+3,"x\"y",null,true,false,{}]},"MERGES":[{"Key":"` + k + `","x":[],"VALUE":"AQID"}],"z":""}`,
		`{"merges":[{"key":"\u0056` + k[1:] + `","value":"AQ\u0049D"}]}`,
		`{"merges":[{"key":"` + k + `","value":"AQ\nID"}]}`,
		`{"merges":[{"key":"` + k + `","value":"AQ` + "\n" + `ID"}]}`, // base64 would skip it
		`{"merges":[{"key":"` + k + `","value":"AQ` + "\r" + `ID"}]}`,
		`{"merges":[{"` + `\u006bey":"` + k + `","value":"AQ\/D"}]}`,
		`{"merges":null}`, `{"merges":[]}`, `{}`, `null`, `[]`, ``, `{"merges":[{}]}`, `{"merges":[null]}`,
		`{"merges":[{"key":null,"value":"AQID"}]}`,
		`{"merges":[{"key":"` + k + `","value":""}]}`,
		`{"merges":[{"key":"EiA=","value":"AQID"}]}`,
		`{"merges":[{"key":"` + k + `","value":"AQI"}]}`,
		`{"merges":[{"key":"` + k + `","value":"` + strings.Repeat("AAAA", 342) + `"}]}`,
		`{"merges":[{"key":"` + k + `","value":"AQID"},]}`,
		`{"merges":[{"key":"` + k + `","value":"AQID"}`,
		`{"merges":[{"key":"` + k + `","value":"AQID"}]} x`,
		`{"x":"\ud83d\ude00\ud83d\u0041\udc00","merges":[{"key":"` + k + `","value":"AQID"}]}`,
		`{"x":01,"merges":[{"key":"` + k + `","value":"AQID"}]}`,
		`{"x":"` + "\x01" + `","merges":[{"key":"` + k + `","value":"AQID"}]}`,
	}
}

// FuzzMerges compares with encoding/json, through windows that end anywhere.
func FuzzMerges(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, wantErr := oracle{}.records(body)
		for _, r := range []io.Reader{bytes.NewReader(body), iotest.OneByteReader(bytes.NewReader(body))} {
			got, err := parse(r)
			if err != nil {
				if wantErr == nil && !strings.Contains(err.Error(), "second time") {
					t.Fatalf("%q: %v", body, err)
				}
				if !errors.Is(err, fs.ErrInvalid) {
					t.Fatalf("%q: %v", body, err)
				}
				continue
			}
			if wantErr != nil || !bytes.Equal(got, want) {
				t.Fatalf("%q: %x, not %x, %v", body, got, want, wantErr)
			}
		}
	})
}

func TestMerges(t *testing.T) {
	accepted := 0
	for _, s := range seeds() {
		if _, err := (oracle{}).records([]byte(s)); err == nil {
			accepted++
		}
	}
	if accepted < 6 {
		t.Errorf("only %d of the seeds are good", accepted)
	}
	// Over many windows and batches.
	b := body(20_000)
	want, err := oracle{}.records(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(bytes.NewReader(b))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes instead of %d, %v", len(got), len(want), err)
	}
	for _, bad := range []string{
		`{"merges":[` + strings.Repeat("[", 5000),
		`{"x":` + strings.Repeat("[", 5000),
		`{"merges":[{"key":"` + strings.Repeat("A", 200_000) + `"}]}`,
		`{"merges":[{"key":"` + strings.Repeat(`\u0041`, 200_000) + `"}]}`,
		`{"` + strings.Repeat("A", 200_000) + `":1}`,
		`{"merges":[{"key":"` + key64(1) + `","key":"` + key64(2) + `","value":"AQID"}]}`,
		string(body(1))[:len(body(1))-1] + `,"merges":[]}`,
	} {
		if _, err := parse(strings.NewReader(bad)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%.40s: %v", bad, err)
		}
	}
	broken := errors.New("connection is gone")
	if _, err := parse(io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("broken: %v", err)
	}
}

func BenchmarkMerges(b *testing.B) {
	const n = 4096
	data := body(n)
	var m Reader
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Read(bytes.NewReader(data), func(valuestore.Records) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}

func ExampleReader() {
	var m Reader
	document := `{"merges":[{"key":"ViABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fIA==","value":"c2VhbGVk"}]}`
	err := m.Read(strings.NewReader(document), func(r valuestore.Records) error {
		for e, err := range r.All() {
			fmt.Printf("%x… %s %v\n", e.Key[:4], e.Value, err)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// 01020304… sealed <nil>
	// <nil>
}
