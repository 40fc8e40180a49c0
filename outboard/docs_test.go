package outboard

import (
	"bytes"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/internal/formattest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func TestDocumentedVectors(t *testing.T) {
	data := make([]byte, 40000)
	for i := range data {
		data[i] = byte(i % 251)
	}
	store := memkv.New()
	root, err := WriteAt(t.Context(), store, bytes.NewReader(data), int64(len(data)), bao.NewHasher(nil))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := New(store, nil).Open(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	slice, err := bao.NewSlice(tree.Size(), 20000, 1)
	if err != nil {
		t.Fatal(err)
	}
	from, n := slice.Extent()
	var b bytes.Buffer
	if _, err := slice.Encode(t.Context(), &b, root, tree, io.NewSectionReader(bytes.NewReader(data), from, n)); err != nil {
		t.Fatal(err)
	}
	head, group := b.Bytes()[:b.Len()-int(n)], b.Bytes()[b.Len()-int(n):]
	if from != 16384 || n != 16384 || !bytes.Equal(group, data[from:from+n]) {
		t.Errorf("the slice ends with other bytes than %d from %d", n, from)
	}
	got := map[string]string{"root": root.String(), "slice": hex.EncodeToString(head), "length": strconv.Itoa(b.Len())}
	for p, err := range store.Scan(t.Context(), kv.Prefix([]byte{keySpace})) {
		if err != nil {
			t.Fatal(err)
		}
		key := string(p.Key)
		switch id := tree.id; key {
		case "hh" + string(root.Bytes()) + string(id[:]):
			got["header"] = hex.EncodeToString(p.Value)
		case "hs" + string(id[:]) + "\x00" + strings.Repeat("\x00", 8):
			got["segment"] = hex.EncodeToString(p.Value)
		default:
			t.Errorf("key %x is not documented", key)
		}
	}
	documented := formattest.Vectors(t, "../docs/formats/bao.md")
	for name, value := range got {
		if documented[name] != value {
			t.Errorf("%s is\n%s, documented as\n%s", name, value, documented[name])
		}
	}
	if len(documented) != len(got) || len(got) != 5 {
		t.Errorf("%d vectors are documented, there are %d", len(documented), len(got))
	}
}
