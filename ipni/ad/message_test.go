package ad_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	basicnode "github.com/ipld/go-ipld-prime/node/basic"
	"github.com/ipni/go-libipni/announce/message"
	oraclemd "github.com/ipni/go-libipni/metadata"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ad"
)

func dagjsonNode(data []byte) (datamodel.Node, error) {
	b := basicnode.Prototype.Any.NewBuilder()
	if err := dagjson.Decode(b, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return b.Build(), nil
}

const peerText = "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"

func TestMessages(t *testing.T) {
	c := named(t, cid.DagJSON, []byte("ad"))
	for name, m := range map[string]ad.Message{
		"bare":     {CID: c},
		"all":      {CID: c, Addrs: addrs("/ip4/8.8.8.8/tcp/1/http/p2p/" + peerText), Extra: []byte("extra"), OrigPeer: peerText},
		"two":      {CID: c, Addrs: addrs("/dns4/a.example/tcp/1", "/dns4/b.example/tcp/443/https")},
		"version0": {CID: cid.MustParse("QmQzqxhK82kAmKvARFZSkUVS6fo9sySaiogAnx5EnZ6ZmC")},
	} {
		t.Run(name, func(t *testing.T) {
			raw := message.Message{Cid: m.CID, ExtraData: m.Extra, OrigPeer: m.OrigPeer}
			raw.SetAddrs(m.Addrs)
			var cbor bytes.Buffer
			if err := raw.MarshalCBOR(&cbor); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(&raw)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := ad.EncodeMessage(m); err != nil || !bytes.Equal(got, cbor.Bytes()) {
				t.Errorf("%x, %v; go-libipni %x", got, err, cbor.Bytes())
			}
			if got, err := ad.EncodeMessageJSON(m); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s, %v; go-libipni %s", got, err, text)
			}
			got, err := ad.DecodeMessage(cbor.Bytes())
			if diff := cmp.Diff(m, got, compare); diff != "" || err != nil {
				t.Errorf("%v, %s", err, diff)
			}
			got, err = ad.DecodeMessageJSON(text)
			if diff := cmp.Diff(m, got, compare); diff != "" || err != nil {
				t.Errorf("JSON: %v, %s", err, diff)
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	c := named(t, cid.DagJSON, []byte("ad"))
	raw := message.Message{Cid: c, Addrs: [][]byte{{0xff}, {}, {4, 1}, addrs("/ip4/8.8.8.8/tcp/1")[0].Bytes()}}
	var b bytes.Buffer
	if err := raw.MarshalCBOR(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ad.DecodeMessage(b.Bytes())
	if err != nil || len(got.Addrs) != 1 {
		t.Errorf("bad addresses beside a good one: %v, %v", got.Addrs, err)
	}
	raw.Addrs = make([][]byte, ad.MaxAddrs+1)
	var many bytes.Buffer
	if err := raw.MarshalCBOR(&many); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "null": {0xf6}, "two": {0x82, 0xf6, 0xf6}, "follows": append(bytes.Clone(b.Bytes()), 0), "short": b.Bytes()[:b.Len()-1], "many": many.Bytes(),
		"huge": make([]byte, ad.MaxMessage+1), "claims": append(bytes.Clone(b.Bytes()[:41]), 0x9a, 0xff, 0xff, 0xff, 0xff),
	} {
		if m, err := ad.DecodeMessage(data); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	for _, text := range []string{
		`{"Cid":{"/":"` + long(cid.DagJSON).String() + `"}}`, "", "null", "{}", "[]", `{"Cid":null}`, `{"Cid":{"/":"nothing"}}`, `{"Cid":{"/":"z` + strings.Repeat("2", 1_000_000) + `"}}`,
		`{"Cid":{"/":"` + c.String() + `"},"OrigPeer":"` + strings.Repeat("x", 300) + `"}`, `{"Cid":{"/":"` + c.String() + `"}} x`,
		`{"Cid":{"/":"` + c.String() + `"},"cid":{"/":"z` + strings.Repeat("2", 900_000) + `"}}`,
		`{"cid":{"/":"z` + strings.Repeat("2", 900_000) + `"},"Cid":{"/":"` + c.String() + `"}}`,
	} {
		start := time.Now()
		if m, err := ad.DecodeMessageJSON([]byte(text)); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%.100s: %v, %v", text, m, err)
		}
		if took := time.Since(start); took > 20*time.Second { // base 58 of this length takes minutes
			t.Errorf("%.100s: took %s", text, took)
		}
	}
	for _, m := range []ad.Message{{}, {CID: c, OrigPeer: strings.Repeat("x", 300)}, {CID: c, Extra: make([]byte, ad.MaxExtra+1)}, {CID: c, Addrs: make([]multiaddr.Multiaddr, ad.MaxAddrs+1)}} {
		if b, err := ad.EncodeMessage(m); err == nil {
			t.Errorf("encoded %x", b)
		}
	}
}

func TestPublisher(t *testing.T) {
	one := ad.Message{Addrs: addrs("/ip4/8.8.8.8/tcp/1/p2p/"+peerText, "/dns4/example.com/tcp/443/https/p2p/"+peerText)}
	info, err := one.Publisher()
	if err != nil || info.ID.String() != peerText || len(info.Addrs) != 2 || info.Addrs[0].String() != "/ip4/8.8.8.8/tcp/1" {
		t.Errorf("%v, %v", info, err)
	}
	for _, texts := range [][]string{nil, {"/ip4/8.8.8.8/tcp/1"}, {"/p2p/" + peerText, "/p2p/QmQzqxhK82kAmKvARFZSkUVS6fo9sySaiogAnx5EnZ6ZmC"}} {
		if info, err := (ad.Message{Addrs: addrs(texts...)}).Publisher(); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%v: %v, %v", texts, info, err)
		}
	}
}

// FuzzMessage wants what go-libipni accepts, and no more.
func FuzzMessage(f *testing.F) {
	for _, m := range []ad.Message{
		{CID: named(f, cid.DagJSON, nil)},
		{CID: named(f, cid.DagJSON, nil), Addrs: addrs("/ip4/8.8.8.8/tcp/1/http/p2p/" + peerText), Extra: []byte("extra"), OrigPeer: peerText},
	} {
		b, err := ad.EncodeMessage(m)
		if err != nil {
			f.Fatal(err)
		}
		text, err := ad.EncodeMessageJSON(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var raw message.Message
		if got, err := ad.DecodeMessage(data); err == nil {
			if err := raw.UnmarshalCBOR(bytes.NewReader(data)); err != nil || raw.Cid != got.CID || raw.OrigPeer != got.OrigPeer || !bytes.Equal(raw.ExtraData, got.Extra) {
				t.Errorf("%v; go-libipni %v, %v", got, raw, err)
			}
			if b, err := ad.EncodeMessage(got); err != nil {
				t.Errorf("cannot be encoded again: %v", err)
			} else if again, err := ad.DecodeMessage(b); err != nil || !cmp.Equal(got, again, compare) {
				t.Errorf("%v, then %v, %v", got, again, err)
			}
		}
		if got, err := ad.DecodeMessageJSON(data); err == nil {
			raw = message.Message{}
			if err := json.Unmarshal(data, &raw); err != nil || raw.Cid != got.CID {
				t.Errorf("JSON: %v; go-libipni %v, %v", got, raw, err)
			}
		}
	})
}

// protocols collects what metadata hold.
func protocols(metadata []byte) (all []ad.Protocol, err error) {
	for p, err := range ad.Protocols(metadata) {
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func TestMetadata(t *testing.T) {
	piece := cid.MustParse("baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq")
	graphsync := &oraclemd.GraphsyncFilecoinV1{PieceCID: piece, VerifiedDeal: true}
	deal, err := graphsync.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	unknown := &oraclemd.Unknown{Code: 0x3f0042, Payload: []byte("\xc2\x80\xfc\x01\x02hi")}
	for _, c := range []struct {
		theirs []oraclemd.Protocol
		ours   []ad.Protocol
		names  string
	}{
		{[]oraclemd.Protocol{oraclemd.Bitswap{}}, []ad.Protocol{{Code: ad.Bitswap}}, "transport-bitswap"},
		{[]oraclemd.Protocol{oraclemd.IpfsGatewayHttp{}}, []ad.Protocol{{Code: ad.GatewayHTTP}}, "transport-ipfs-gateway-http"},
		{[]oraclemd.Protocol{oraclemd.FilecoinPieceHttp{}}, []ad.Protocol{{Code: ad.PieceHTTP}}, "transport-filecoin-piece-http"},
		{[]oraclemd.Protocol{graphsync}, []ad.Protocol{{Code: ad.GraphsyncFilecoin, Payload: deal[2:]}}, "transport-graphsync-filecoinv1"},
		{
			[]oraclemd.Protocol{oraclemd.IpfsGatewayHttp{}, unknown, oraclemd.Bitswap{}, graphsync},
			[]ad.Protocol{{Code: ad.GatewayHTTP}, {Code: 0x3f0042, Payload: []byte("hi")}, {Code: ad.Bitswap}, {Code: ad.GraphsyncFilecoin, Payload: deal[2:]}},
			"transport-bitswap transport-graphsync-filecoinv1 transport-ipfs-gateway-http 0x3f0042",
		},
	} {
		md := oraclemd.Default.New(c.theirs...)
		want, err := md.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ad.Metadata(c.ours...)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %x", c.names, got, err, want)
		}
		all, err := protocols(got)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range all {
			names = append(names, p.Code.String())
			if i := slices.IndexFunc(c.ours, func(q ad.Protocol) bool { return q.Code == p.Code }); string(c.ours[i].Payload) != string(p.Payload) {
				t.Errorf("%s: payload %x", p.Code, p.Payload)
			}
		}
		if strings.Join(names, " ") != c.names {
			t.Errorf("%v, want %s", names, c.names)
		}
	}
}

func TestBadMetadata(t *testing.T) {
	for _, text := range []string{
		"80", "8080", "a0128012", "a01201ff", "a012", "9012", "9012a1", "90129f00ff", "901259ffff", "9012" + strings.Repeat("81", 50), "90129bffffffffffffffff",
		"9012bbffffffffffffffff", "c280fc01", "c280fc0105aa", "ffffffffffffffffff01ffffffffffffffffff01", strings.Repeat("8012", 600),
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := protocols(b); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%.60s: %v, %v", text, all, err)
		}
	}
	if all, err := protocols(nil); err != nil || len(all) != 0 {
		t.Errorf("no metadata: %v, %v", all, err)
	}
	for _, p := range []ad.Protocol{{Code: ad.Bitswap, Payload: []byte("x")}, {Code: ad.GatewayHTTP, Payload: []byte("x")}, {Code: ad.GraphsyncFilecoin}, {Code: 1, Payload: make([]byte, ad.MaxMetadata)}} {
		if b, err := ad.Metadata(p); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%v: %x, %v", p, b, err)
		}
	}
	if _, err := ad.Metadata(); err == nil {
		t.Error("metadata of no protocol")
	}
}

// FuzzProtocols wants the first protocol that go-libipni finds. Beyond it go-libipni counts
// what it has read twice, so that it loses its place after the second.
func FuzzProtocols(f *testing.F) {
	f.Add([]byte("\x80\x12\xa0\x12\x00"))
	f.Add([]byte("\x90\x12\xa3\x68PieceCID\xd8\x2a\x58\x23\x00\x01\x55\x12\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x6cVerifiedDeal\xf5\x6dFastRetrieval\xf5"))
	f.Add([]byte("\xc2\x80\xfc\x01\x02hi"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := protocols(data)
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("the error matches nothing: %v", err)
		}
		if err == nil && len(all) > 0 {
			if again, err := ad.Metadata(all...); err != nil || !bytes.Equal(again, data) {
				t.Errorf("%x became %x, %v", data, again, err)
			}
		}
		if longVarint(data) || len(data) > ad.MaxMetadata {
			return // go-libipni allocates what a length says
		}
		theirs := oraclemd.Default.New()
		if theirs.UnmarshalBinary(data) != nil || theirs.Len() == 0 {
			return
		}
		for p, err := range ad.Protocols(data) {
			if err != nil || p.Code != ad.Code(theirs.Protocols()[0]) {
				t.Errorf("%v, %v, want %v", p, err, theirs.Protocols())
			}
			break
		}
	})
}

// longVarint reports whether a varint in data could be above 2^21.
func longVarint(data []byte) bool {
	run := 0
	for _, b := range data {
		if run++; b < 0x80 {
			run = 0
		}
		if run == 3 {
			return true
		}
	}
	return false
}

// TestManyProtocols has metadata that go-libipni cannot read: it loses its place after
// two protocols, and wants nothing behind an item of CBOR.
func TestManyProtocols(t *testing.T) {
	deal := ad.Protocol{Code: ad.GraphsyncFilecoin, Payload: []byte("\xa3\x68PieceCID\xd8\x2a\x45\x00\x01\x55\x00\x00\x6cVerifiedDeal\xf5\x6dFastRetrieval\xf5")}
	for _, want := range [][]ad.Protocol{
		{{Code: ad.Bitswap}, {Code: ad.GatewayHTTP}, {Code: ad.PieceHTTP}},
		{deal, {Code: ad.GatewayHTTP}},
	} {
		b, err := ad.Metadata(want...)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := protocols(b); err != nil || len(all) != len(want) {
			t.Errorf("%v, %v", all, err)
		}
		theirs := oraclemd.Default.New()
		if err := theirs.UnmarshalBinary(b); err == nil {
			t.Errorf("go-libipni reads %v: the documentation is to be changed", theirs.Protocols())
		}
	}
	b, err := ad.Metadata(deal)
	if err != nil {
		t.Fatal(err)
	}
	theirs := oraclemd.Default.New()
	if err := theirs.UnmarshalBinary(b); err != nil {
		t.Errorf("alone it is bad, too: %v", err)
	}
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"/ip4/1.2.3.4/tcp/80/http":                                       "http://1.2.3.4:80",
		"/ip4/1.2.3.4/tcp/80/http/p2p/" + peerText:                       "http://1.2.3.4:80",
		"/ip6/::1/tcp/8080/http":                                         "http://[::1]:8080",
		"/dns4/example.com/tcp/443/https":                                "https://example.com:443",
		"/dns/example.com/tcp/443/tls/http":                              "https://example.com:443",
		"/dns/example.com/https":                                         "https://example.com",
		"/dns/example.com/tcp/443/tls/sni/example.com/http":              "https://example.com:443",
		"/dns/example.com/tcp/443/https/http-path/a%2Fb%20c":             "https://example.com:443/a/b%20c",
		"/dns/example.com/tcp/443/https/httpath/%2Fa%2Fb":                "https://example.com:443/a/b",
		"/dns/example.com/tcp/443/https/http-path/a%2Fb/p2p/" + peerText: "https://example.com:443/a/b",
	} {
		u, err := ad.URL(multiaddr.StringCast(text))
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, u, err, want)
		}
	}
	for _, text := range []string{
		"/ip4/1.2.3.4/tcp/80", "/ip4/1.2.3.4/udp/80/quic-v1", "/ip4/1.2.3.4/tcp/80/ws", "/http", "/p2p/" + peerText,
		"/ip4/1.2.3.4/tcp/80/http/p2p/" + peerText + "/p2p-circuit", "/dns4/example.com/udp/443/quic-v1/webtransport",
	} {
		if u, err := ad.URL(multiaddr.StringCast(text)); err == nil {
			t.Errorf("%s: %s", text, u)
		}
	}
	if u, err := ad.URL(nil); err == nil {
		t.Errorf("nil: %s", u)
	}
	for text, want := range map[string]string{
		"https://example.com":                     "/dns/example.com/tcp/443/https",
		"http://user:secret@1.2.3.4:8080/a/b?q=1": "/ip4/1.2.3.4/tcp/8080/http/http-path/%2Fa%2Fb",
		"http://[::1]":                            "/ip6/::1/tcp/80/http",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := ad.Addr(u); err != nil || a.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, a, err, want)
		} else if back, err := ad.URL(a); err != nil || back.Path != u.Path {
			t.Errorf("%s: back comes %s, %v", text, back, err)
		}
	}
	if a, err := ad.Addr(&url.URL{Scheme: "ftp", Host: "x"}); err == nil {
		t.Error(a)
	}
}
