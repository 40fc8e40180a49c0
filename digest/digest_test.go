package digest_test

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
)

var computed = []digest.Code{digest.SHA256, digest.SHA512, digest.BLAKE3, digest.Identity}

func mustSum(t testing.TB, code digest.Code, data []byte) digest.Digest {
	t.Helper()
	d, err := digest.Sum(code, data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestVectors follows the test cases of the multihash specification. Rows with
// fewer bits than the function has are truncations: carried, never verified.
func TestVectors(t *testing.T) {
	f, err := os.Open("testdata/multihash.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	full := map[string]int{"sha2-256": 256, "sha2-512": 512}
	seen := map[string]int{}
	for _, row := range rows[1:] {
		name, bits, input, mh := row[0], row[1], []byte(row[2]), unhex(t, row[3])
		d, err := digest.FromBytes(mh)
		if err != nil {
			t.Errorf("%v: %v", row, err)
			continue
		}
		if !bytes.Equal(d.Bytes(), mh) || !bytes.Equal(d.AppendTo([]byte("x")), append([]byte("x"), mh...)) {
			t.Errorf("%v: bytes come back as %x", row, d.Bytes())
		}
		if !bytes.Equal(d.Value(), mh[2:]) {
			t.Errorf("%v: value %x", row, d.Value())
		}
		want := digest.ErrUnsupported
		if n, err := strconv.Atoi(bits); err != nil || full[name] == n {
			want = nil
		}
		if err := d.Verify(input); !errors.Is(err, want) {
			t.Errorf("%v: Verify: %v, want %v", row, err, want)
		}
		seen[name]++
	}
	if seen["sha2-256"] != 60 || seen["sha2-512"] != 80 {
		t.Errorf("vectors: %v", seen)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSumAgreesWithGoMultihash compares sums, streamed sums and their parts.
func TestSumAgreesWithGoMultihash(t *testing.T) {
	for _, code := range computed {
		for _, size := range []int{0, 1, 31, 32, 33, 127, 128} {
			data := bytes.Repeat([]byte{byte(size)}, size)
			want, err := multihash.Sum(data, uint64(code), -1)
			if err != nil {
				t.Fatal(err)
			}
			got := mustSum(t, code, data)
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s of %d bytes: %x, want %x", code, size, got.Bytes(), []byte(want))
			}
			if got.Code() != code {
				t.Errorf("Code = %s, want %s", got.Code(), code)
			}
			if err := got.Verify(data); err != nil {
				t.Errorf("%s of %d bytes: %v", code, size, err)
			}
			if err := got.Verify(append(data, 0)); !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("%s of %d other bytes: %v", code, size+1, err)
			}
			if code != digest.Identity {
				checkHasher(t, code, data, got)
			}
		}
	}
}

func checkHasher(t *testing.T, code digest.Code, data []byte, want digest.Digest) {
	t.Helper()
	h, err := digest.NewHasher(code)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range data {
		if n, err := h.Write([]byte{b}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	for range 2 { // to ask does not change the state
		if got := h.Digest(); got != want {
			t.Errorf("Hasher: %s, want %s", got, want)
		}
	}
}

func TestFromBytesRefuses(t *testing.T) {
	sha := "1220" + strings.Repeat("ab", 32)
	for name, in := range map[string]string{
		"empty": "", "code alone": "12", "no value": "1220", "short value": sha[:60], "long value": sha + "00",
		"sha2-256 of 33 bytes": "1221" + strings.Repeat("ab", 33), "sha2-512 of 65 bytes": "1341" + strings.Repeat("ab", 65),
		"blake3 of 33 bytes": "1e21" + strings.Repeat("ab", 33), "identity of 129 bytes": "008101" + strings.Repeat("ab", 129),
		"unknown of 129 bytes": "238101" + strings.Repeat("ab", 129),
		"code in a long form":  "9200" + sha[2:], "length in a long form": "12a000" + sha[4:],
		"endless code": strings.Repeat("ff", 20), "code of ten bytes": "ffffffffffffffffff01" + "00",
		"huge length": "12ffffffffffffffff7f" + "ab", "a CID": "01551220" + strings.Repeat("ab", 32),
	} {
		if d, err := digest.FromBytes(unhex(t, in)); !errors.Is(err, digest.ErrInvalid) || !d.IsZero() {
			t.Errorf("%s: %v, %v; want ErrInvalid", name, d, err)
		}
	}
}

func TestUnknownFunctionIsCarriedButNotVerified(t *testing.T) {
	data := []byte("x")
	for _, mh := range []string{"1114" + strings.Repeat("00", 20), "a0e40220" + strings.Repeat("ab", 32), "2308" + strings.Repeat("ab", 8), "1200"} {
		d, err := digest.FromBytes(unhex(t, mh))
		if err != nil {
			t.Errorf("%s: %v", mh, err)
			continue
		}
		if err := d.Verify(data); !errors.Is(err, digest.ErrUnsupported) {
			t.Errorf("%s: Verify: %v, want ErrUnsupported", mh, err)
		}
		again, err := digest.Parse(d.String())
		if err != nil || again != d {
			t.Errorf("%s: %s comes back as %s, %v", mh, d, again, err)
		}
	}
	if _, err := digest.Sum(0x11, data); !errors.Is(err, digest.ErrUnsupported) {
		t.Errorf("Sum: %v", err)
	}
	for _, code := range []digest.Code{0x11, digest.Identity} {
		if _, err := digest.NewHasher(code); !errors.Is(err, digest.ErrUnsupported) {
			t.Errorf("NewHasher(%s): %v", code, err)
		}
	}
}

func TestParse(t *testing.T) {
	want := mustSum(t, digest.SHA256, []byte("hello world"))
	v0 := cid.NewCidV0(want.CID(0).Hash())
	for _, s := range []string{
		"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", // raw (IPIP-499)
		want.String(), want.CID(cid.DagProtobuf).String(), v0.String(),
		"f01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
	} {
		if got, err := digest.Parse(s); err != nil || got != want {
			t.Errorf("Parse(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "b", "hello", "Qm", want.String() + "a", "/ipfs/" + want.String(), strings.ToUpper(v0.String()),
		"z" + strings.Repeat("2", 1<<20), "f00", "f0055128001" + strings.Repeat("00", 128),
	} {
		if got, err := digest.Parse(s); !errors.Is(err, digest.ErrInvalid) {
			t.Errorf("Parse(%.20q) = %s, %v; want ErrInvalid", s, got, err)
		}
	}
}

// TestParseBoundsTheText matters because decoding base 58 takes quadratic time.
func TestParseBoundsTheText(t *testing.T) {
	_, err := digest.Parse("z" + strings.Repeat("2", 1<<20))
	if want := "invalid digest: text of 1048577 bytes"; err == nil || err.Error() != want {
		t.Errorf("got %.100v, want %s", err, want)
	}
	longest := mustSum(t, digest.Identity, make([]byte, digest.MaxIdentity))
	text, err := longest.CID(1 << 62).StringOfBase('0') // base 2, and a codec of nine bytes
	if err != nil {
		t.Fatal(err)
	}
	if got, err := digest.Parse(text); err != nil || got != longest {
		t.Errorf("the longest text, of %d bytes: %v", len(text), err)
	}
}

func TestIdentity(t *testing.T) {
	for _, n := range []int{0, 1, digest.MaxIdentity} {
		data := bytes.Repeat([]byte{7}, n)
		got, ok := mustSum(t, digest.Identity, data).Inline()
		if !ok || !bytes.Equal(got, data) {
			t.Errorf("Inline of %d bytes: %x, %v", n, got, ok)
		}
	}
	long := make([]byte, digest.MaxIdentity+1)
	if d, err := digest.Sum(digest.Identity, long); !errors.Is(err, digest.ErrInvalid) {
		t.Errorf("Sum of 129 bytes: %v, %v", d, err)
	}
	if err := mustSum(t, digest.Identity, nil).Verify(long); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("Verify of 129 bytes: %v", err)
	}
	if data, ok := mustSum(t, digest.SHA256, nil).Inline(); ok {
		t.Errorf("a sha2-256 carries %x", data)
	}
}

func TestZero(t *testing.T) {
	var zero digest.Digest
	if !zero.IsZero() || zero.CID(cid.Raw).Defined() || zero.String() != "(no digest)" || len(zero.Bytes()) != 0 {
		t.Errorf("zero is %v, CID %v, bytes %x", zero, zero.CID(cid.Raw), zero.Bytes())
	}
	if _, ok := zero.Inline(); ok {
		t.Error("zero is an identity")
	}
	for _, data := range [][]byte{nil, {0}} {
		if err := zero.Verify(data); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("zero verifies %x: %v", data, err)
		}
	}
	if _, err := digest.FromCID(cid.Undef); !errors.Is(err, digest.ErrInvalid) {
		t.Errorf("FromCID(Undef): %v", err)
	}
}

// TestValuesAreCopies makes sure that nobody can change a digest.
func TestValuesAreCopies(t *testing.T) {
	d := mustSum(t, digest.SHA256, []byte("x"))
	want := d.String()
	clear(d.Bytes())
	clear(d.Value())
	mh := d.Bytes()
	same, err := digest.FromBytes(mh)
	if err != nil {
		t.Fatal(err)
	}
	clear(mh)
	if d.String() != want || same != d {
		t.Errorf("now %s and %s, was %s", d, same, want)
	}
}

func TestCodes(t *testing.T) {
	for name, code := range map[string]digest.Code{
		"sha2-256": digest.SHA256, "sha2-512": digest.SHA512, "blake3": digest.BLAKE3, "identity": digest.Identity,
	} {
		if got, err := digest.ParseCode(name); err != nil || got != code || got.String() != name {
			t.Errorf("ParseCode(%q) = %s, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "sha1", "SHA2-256", "0x12"} {
		if got, err := digest.ParseCode(name); !errors.Is(err, digest.ErrUnsupported) {
			t.Errorf("ParseCode(%q) = %s, %v", name, got, err)
		}
	}
	if got := digest.Code(0x12345678).String(); got != "0x12345678" {
		t.Errorf("an unnamed code is %q", got)
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, code := range []digest.Code{digest.SHA256, digest.BLAKE3} {
		data := make([]byte, 256<<10)
		d := mustSum(b, code, data)
		b.Run(code.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Verify(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
