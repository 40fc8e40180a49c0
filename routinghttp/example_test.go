package routinghttp_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/routinghttp"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

func Example() {
	id, err := peer.Decode("12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt")
	if err != nil {
		panic(err)
	}
	metadata, err := ad.Metadata(ad.Protocol{Code: ad.GatewayHTTP})
	if err != nil {
		panic(err)
	}
	index := finder{results: []ipni.Result{{Provider: peer.AddrInfo{ID: id}, Metadata: metadata}}}
	server := httptest.NewServer(routinghttp.NewHandler(index, nil))
	defer server.Close()

	client, err := routinghttp.NewClient(server.URL, &routinghttp.ClientOptions{
		Filter: filter.Filter{Protocols: []string{"transport-ipfs-gateway-http"}},
	})
	if err != nil {
		panic(err)
	}
	d, err := digest.Sum(digest.SHA256, []byte("hello"))
	if err != nil {
		panic(err)
	}
	for result, err := range client.Find(context.Background(), d.Bytes()) {
		if err != nil {
			panic(err)
		}
		for p := range ad.Protocols(result.Metadata) {
			fmt.Println(result.Provider.ID, p.Code)
		}
	}
	// Output: 12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt transport-ipfs-gateway-http
}
