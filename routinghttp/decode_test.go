package routinghttp

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

// FuzzDecode: whatever a server says, results are well formed, or it is an error; and what is
// understood can be said, and is understood the same.
func FuzzDecode(f *testing.F) {
	const id = `"12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"`
	for _, s := range []string{
		`{"Providers":[{"Schema":"peer","ID":` + id + `,"Addrs":["/ip4/192.0.2.1/tcp/1"],"Protocols":["transport-bitswap","transport-graphsync-filecoinv1"],"transport-graphsync-filecoinv1":"kBKhYVb1"}]}`,
		`{"Schema":"peer","ID":` + id + `,"Protocols":["transport-ipfs-gateway-http","0x300001"],"0x300001":"gYDAAQF4","transport-ipfs-gateway-http":{"a":1}}` + "\n" + `{"Schema":"x"}`,
		`{"Schema":"bitswap","Protocol":"transport-bitswap","ID":` + id + `}`,
		`{"Providers":null}`, `{}`, "\n\n", `[`, `{"schema":"peer","id":1}`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, asLines bool) {
		media := typeJSON
		if asLines {
			media = typeLines
		}
		results, err := decodeAll(data, media)
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%v", err)
		}
		var written []byte
		for _, res := range results {
			if err := res.Provider.ID.Validate(); err != nil || len(res.Metadata) > ad.MaxMetadata {
				t.Fatalf("%+v: %v", res, err)
			}
			for _, err := range ad.Protocols(res.Metadata) {
				if err != nil {
					t.Fatal(err)
				}
			}
			r := &record{id: res.Provider.ID}
			r.merge(res)
			written = append(r.append(written, r.addrs), '\n')
		}
		again, err := decodeAll(written, typeLines)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if !bytes.Contains(data, []byte("Addrs")) { // the same address twice is written once
			if diff := cmp.Diff(results, again); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func decodeAll(data []byte, media string) (all []ipni.Result, err error) {
	choose := filter.Filter{}.Chooser()
	for raw, err := range rawRecords(&bounded{bytes.NewReader(data), 1 << 20}, media, 64<<10) {
		if err != nil {
			return all, err
		}
		results, err := decode(raw, choose)
		if err != nil {
			return all, err
		}
		all = append(all, results...)
	}
	return all, nil
}
