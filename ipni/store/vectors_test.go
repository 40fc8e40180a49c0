package store

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/internal/formattest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/kv"
)

func TestDocumentedVectors(t *testing.T) {
	got := map[string]string{}
	c := testContext(7, strings.Repeat("\x09", 36))
	mh, err := hex.DecodeString("1220c00913e02a63e4cf532d9b2ce282fad85af699815c18c595ea804462a794f751")
	check(t, err)
	got["mh"], got["vk"] = hex.EncodeToString(mh), hex.EncodeToString(c.ValueKey())
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		check(t, f.Put(t.Context(), ipni.Group{Context: c, Epoch: 7}, mh))
		check(t, f.PutMetadata(t.Context(), c, []byte{0x80, 0x12}))
		mode := "sealed"
		if o.Compact {
			mode = "compact"
		}
		for p, err := range f.rows.Scan(t.Context(), kv.Prefix([]byte{keySpace})) {
			check(t, err)
			name := string(p.Key[:2])
			got[name+" key"] = hex.EncodeToString(p.Key)
			switch p.Key[1] {
			case kindFormat, kindTag:
				name += " " + mode
			}
			got[name] = hex.EncodeToString(p.Value)
			if len(p.Value) == 0 {
				got[name] = "(empty)"
			}
		}
		for v, err := range f.values.Values(t.Context(), dhash.SecondHash(mh)) {
			check(t, err)
			got["value "+mode] = hex.EncodeToString(v.Bytes)
		}
	})
	documented := formattest.Vectors(t, "../../docs/formats/ipni.md")
	for name, value := range got {
		if documented[name] != value {
			t.Errorf("documented as %s:\n    %s  %s", documented[name], name, value)
		}
	}
	if len(documented) != len(got) || len(got) != 16 {
		t.Errorf("%d vectors are documented, there are %d", len(documented), len(got))
	}
}
