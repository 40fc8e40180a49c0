package jsstore_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/index/jsstore"
)

const (
	digestA = `{"/":{"bytes":"EiAdZGsE6XFb5F4baNw9WntJcpYD0WSwlTwaQpOlXHzffg"}}`
	valid   = `{"data":{"length":1000,"location":"sub/deep.bin","multihash":` + digestA + `,"offset":0,"subRecords":[],"type":0},"type":"index/blob@0.1"}`
)

func TestDecodeRefuses(t *testing.T) {
	if _, _, err := jsstore.Decode([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		s := strings.Replace(valid, old, new, 1)
		if s == valid {
			t.Fatalf("%q is not there", old)
		}
		return s
	}
	deep := strings.Repeat(`{"location":`+digestA+`,"multihash":`+digestA+`,"subRecords":[`, 10_000)
	for name, b := range map[string]string{
		"nothing":              "",
		"cut":                  valid[:len(valid)-1],
		"more":                 valid + "\n",
		"space":                swap(":", ": "),
		"order":                `{"type":"index/blob@0.1",` + valid[1:len(valid)-len(`,"type":"index/blob@0.1"}`)] + `}`,
		"another format":       swap("blob@0.1", "blob@0.2"),
		"type 4":               swap(`"type":0`, `"type":4`),
		"negative":             swap("1000", "-1"),
		"fraction":             swap("1000", "1.0"),
		"leading zero":         swap("1000", "01000"),
		"beyond JavaScript":    swap("1000", "9007199254740992"),
		"padding":              swap("ffg", "ffg="),
		"loose bits":           swap("ffg", "ffh"),
		"line break in base64": swap("EiAd", "EiA\nd"),
		"no multihash":         swap("EiAd", "AAAA"),
		"escape without need":  swap("sub/", `sub\/`),
		"other escape":         swap("sub/", `sub\u002f`),
		"upper-case escape":    swap("sub/", `sub\u001F`),
		"surrogate":            swap("sub/", `\ud800`),
		"not UTF-8":            swap("sub/", "\xff"),
		"control character":    swap("sub/", "\n"),
		"open string":          swap(`deep.bin"`, `deep.bin\`),
		"no path":              swap("sub/deep.bin", ""),
		"long path":            swap("deep", strings.Repeat("p", 40_000)),
		"inline without bytes": swap(`"type":0`, `"type":3`),
		"depth":                `{"data":` + deep,
	} {
		if r, _, err := jsstore.Decode([]byte(b)); !errors.Is(err, jsstore.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestBadObject reads past a record that does not decode, and says which one it was.
func TestBadObject(t *testing.T) {
	store := memblob.New()
	a, b := "bafkreia5mrvqj2lrlpsf4g3i3q6vu62joklahulewcktygscsosvy7g7py", "bafkreibcgb35n7o4exofkpjzlpzjqsfp74gtyubfumsrj5duo37zzwbo3u"
	for key, text := range map[string]string{a + "/1": valid, a + "/2": "{}", b + "/1": valid, "stray": "x", "README/1": "x", a + "/name": "x"} {
		if err := store.Put(t.Context(), key, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	records, bad := 0, ""
	for _, err := range jsstore.NewReader(store, nil).Objects(t.Context()) {
		if records++; err != nil {
			records--
			bad += err.Error() + "\n"
			if !errors.Is(err, jsstore.ErrMalformed) {
				t.Error(err)
			}
		}
	}
	if records != 1 || strings.Count(bad, "\n") != 2 || !strings.Contains(bad, a+"/2") || !strings.Contains(bad, b+"/1") {
		t.Errorf("%d records and\n%s", records, bad)
	}
	for _, err := range jsstore.NewReader(store, &jsstore.Options{MaxRecord: 100}).Objects(t.Context()) {
		if !errors.Is(err, jsstore.ErrMalformed) {
			t.Errorf("a record over the limit: %v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	stores, _ := fixture(f)
	for name, o := range indexes() {
		for obj, err := range jsstore.NewReader(stores[name], o).Objects(f.Context()) {
			if err != nil {
				f.Fatal(err)
			}
			f.Add(read(f, stores[name], obj.Key))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, format, err := jsstore.Decode(b)
		if err != nil {
			if !errors.Is(err, jsstore.ErrMalformed) {
				t.Error(err)
			}
			return
		}
		if again := jsstore.Encode(r, format); !bytes.Equal(again, b) {
			t.Errorf("%q is written as %q", b, again)
		}
	})
}
