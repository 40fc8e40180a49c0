package filter

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/routing/http/filters"
	"github.com/ipfs/boxo/routing/http/types"
	boxoiter "github.com/ipfs/boxo/routing/http/types/iter"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

func parseAddrs(t testing.TB, texts []string) (addrs []multiaddr.Multiaddr) {
	t.Helper()
	for _, text := range texts {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, a)
	}
	return addrs
}

func Example() {
	f, err := Parse(url.Values{"filter-addrs": {"wss,!p2p-circuit"}})
	if err != nil {
		panic(err)
	}
	tls := multiaddr.StringCast("/dns/example.com/tcp/443/wss")
	tcp := multiaddr.StringCast("/ip4/192.0.2.1/tcp/4001")
	fmt.Println(f.Chooser().Choose([]multiaddr.Multiaddr{tls, tcp}, nil))
	// Output: [/dns/example.com/tcp/443/wss] true
}

const relay = "/p2p/12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt/p2p-circuit"

// filtered are peers and filters of which the specification says what is told.
var filtered = []struct {
	name             string
	addrs, protocols []string
	query            string
	want             []string // addresses
	told             bool
}{
	{"no filter", []string{"/ip4/192.0.2.1/tcp/1"}, nil, "", []string{"/ip4/192.0.2.1/tcp/1"}, true},
	{"no filter, nothing known", nil, nil, "", nil, true},
	{"or", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/udp/1/quic-v1", "/ip4/192.0.2.1/udp/1"}, nil, "filter-addrs=tcp,quic-v1", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/udp/1/quic-v1"}, true},
	{"none left", []string{"/ip4/192.0.2.1/tcp/1"}, nil, "filter-addrs=webtransport", nil, false},
	{"negative and", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/tcp/1", "/ip4/192.0.2.1/udp/1/quic-v1"}, nil, "filter-addrs=!ip6,!quic-v1", []string{"/ip4/192.0.2.1/tcp/1"}, true},
	{"both", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/tcp/1", "/ip4/192.0.2.1/udp/1"}, nil, "filter-addrs=tcp,!ip6", []string{"/ip4/192.0.2.1/tcp/1"}, true},
	{"relays", []string{"/ip4/192.0.2.1/tcp/1" + relay, "/ip4/192.0.2.2/tcp/1"}, nil, "filter-addrs=!p2p-circuit", []string{"/ip4/192.0.2.2/tcp/1"}, true},
	{"alias", []string{"/ip4/192.0.2.1/tcp/1" + relay, "/ip4/192.0.2.2/tcp/1"}, nil, "filter-addrs=ipfs", []string{"/ip4/192.0.2.1/tcp/1" + relay}, true},
	{"escaped comma", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/udp/1"}, nil, "filter-addrs=tcp%2Cudp", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/udp/1"}, true},
	{"upper case", []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/tcp/1"}, nil, "filter-addrs=TCP,!IP6", []string{"/ip4/192.0.2.1/tcp/1"}, true},
	{"no such name", []string{"/ip4/192.0.2.1/tcp/1"}, nil, "filter-addrs=nosuch", nil, false},
	{"not what is not", []string{"/ip4/192.0.2.1/tcp/1"}, nil, "filter-addrs=!nosuch", []string{"/ip4/192.0.2.1/tcp/1"}, true},
	{"unknown addresses", nil, nil, "filter-addrs=unknown", nil, true},
	{"unknown among others", nil, nil, "filter-addrs=tcp,unknown", nil, true},
	{"unknown addresses not asked for", nil, nil, "filter-addrs=tcp", nil, false},
	{"unknown addresses, negative", nil, nil, "filter-addrs=!tcp", nil, false},
	{"known addresses", []string{"/ip4/192.0.2.1/tcp/1"}, nil, "filter-addrs=unknown", nil, false},
	{"protocol", nil, []string{"transport-bitswap", "x"}, "filter-protocols=transport-bitswap,y", nil, true},
	{"protocol in upper case", nil, []string{"Transport-Bitswap"}, "filter-protocols=TRANSPORT-BITSWAP", nil, true},
	{"no such protocol", nil, []string{"x"}, "filter-protocols=transport-bitswap", nil, false},
	{"unknown protocols", nil, nil, "filter-protocols=unknown", nil, true},
	{"unknown protocols not asked for", nil, nil, "filter-protocols=transport-bitswap", nil, false},
	{"known protocols", nil, []string{"x"}, "filter-protocols=unknown", nil, false},
	{"no negative protocols", nil, []string{"x"}, "filter-protocols=!y", nil, false},
	{"both filters", []string{"/ip4/192.0.2.1/tcp/1"}, []string{"x"}, "filter-addrs=tcp&filter-protocols=y", nil, false},
	{"nothing in a filter", []string{"/ip4/192.0.2.1/tcp/1"}, []string{"x"}, "filter-addrs=&filter-protocols=,", []string{"/ip4/192.0.2.1/tcp/1"}, true},
	{"spaces", []string{"/ip4/192.0.2.1/tcp/1"}, nil, "filter-addrs=udp,+tcp", []string{"/ip4/192.0.2.1/tcp/1"}, true},
}

func TestFilter(t *testing.T) {
	for _, tt := range filtered {
		t.Run(tt.name, func(t *testing.T) {
			query, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse(query)
			if err != nil {
				t.Fatal(err)
			}
			got, told := f.Chooser().Choose(parseAddrs(t, tt.addrs), tt.protocols)
			if told != tt.told {
				t.Fatalf("told: %t", told)
			}
			if diff := cmp.Diff(parseAddrs(t, tt.want), got); told && diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFilterLikeBoxo compares with the reference, for every pair of a peer and a filter above.
func TestFilterLikeBoxo(t *testing.T) {
	for _, filter := range filtered {
		if filter.name == "nothing in a filter" || filter.name == "spaces" { // boxo takes them for names that nothing has
			continue
		}
		for _, p := range filtered {
			query, err := url.ParseQuery(filter.query)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, query, parseAddrs(t, p.addrs), p.protocols)
		}
	}
}

func compare(t *testing.T, query url.Values, addrs []multiaddr.Multiaddr, protocols []string) {
	t.Helper()
	f, err := Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	id := peer.ID("x")
	record := &types.PeerRecord{Schema: types.SchemaPeer, ID: &id, Protocols: protocols}
	for _, a := range addrs {
		record.Addrs = append(record.Addrs, types.Multiaddr{Multiaddr: a})
	}
	in := boxoiter.ToResultIter(boxoiter.FromSlice([]types.Record{record}))
	out, err := boxoiter.ReadAllResults(filters.ApplyFiltersToIter(in, filters.ParseFilter(query.Get(paramAddrs)), filters.ParseFilter(query.Get(paramProtocols))))
	if err != nil {
		t.Fatal(err)
	}
	got, told := f.Chooser().Choose(addrs, protocols)
	if told != (len(out) == 1) {
		t.Errorf("%v of %v, %v: told %t, by the reference %d", query, addrs, protocols, told, len(out))
		return
	}
	if !told {
		return
	}
	want := out[0].(*types.PeerRecord).Addrs
	if !slices.EqualFunc(got, want, func(a multiaddr.Multiaddr, b types.Multiaddr) bool { return a.Equal(b.Multiaddr) }) {
		t.Errorf("%v of %v, %v: %v, by the reference %v", query, addrs, protocols, got, want)
	}
}

func TestFilterLimits(t *testing.T) {
	for query, ok := range map[string]bool{
		"filter-protocols=" + strings.Repeat("x", maxName):               true,
		"filter-protocols=" + strings.Repeat("x", maxName+1):             false,
		"filter-addrs=!" + strings.Repeat("x", maxName):                  true,
		"filter-addrs=!" + strings.Repeat("x", maxName+1):                false,
		"filter-addrs=" + strings.Repeat("tcp,", 10*maxNames):            true, // one name
		"filter-addrs=" + numbered(maxNames):                             true,
		"filter-addrs=" + numbered(maxNames+1):                           false,
		"filter-addrs=" + numbered(maxNames) + "&filter-addrs=one,more,": false,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(values); (err == nil) != ok {
			t.Errorf("%.50s: %v", query, err)
		}
	}
}

func numbered(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = strings.Repeat("x", i%maxName+1) + strings.Repeat("y", i/maxName)
	}
	return strings.Join(names, ",")
}

// FuzzFilter: what is parsed can be written and parsed again, is sorted, and chooses as the
// reference does.
func FuzzFilter(f *testing.F) {
	for _, tt := range filtered {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(query.Get(paramAddrs), query.Get(paramProtocols))
	}
	f.Add("a b,%2C,é,!,!!", "!x,Ü")
	addrs := parseAddrs(f, []string{"/ip4/192.0.2.1/tcp/1", "/ip6/::1/udp/1/quic-v1/webtransport", "/dns/example.com/tcp/443/wss"})
	f.Fuzz(func(t *testing.T, a, p string) {
		query := url.Values{paramAddrs: {a}, paramProtocols: {p}}
		filter, err := Parse(query)
		if err != nil {
			return
		}
		written, err := url.ParseQuery(filter.Query())
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(written)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(filter.Addrs)
		slices.Sort(filter.Protocols)
		slices.Sort(again.Addrs)
		slices.Sort(again.Protocols)
		if diff := cmp.Diff(filter, again); diff != "" {
			t.Fatal(diff)
		}
		if strings.ContainsAny(a+p, " \t\n\v\f\r\u0085\u00a0") || strings.Contains(","+a+",", ",,") || strings.Contains(","+p+",", ",,") || strings.IndexFunc(a+p, func(r rune) bool { return r > '~' }) >= 0 {
			return // where the reference knows of no space and no empty name
		}
		for _, protocols := range [][]string{nil, {"transport-bitswap"}, {"X", "transport-ipfs-gateway-http"}} {
			compare(t, query, addrs, protocols)
			compare(t, query, nil, protocols)
		}
	})
}
