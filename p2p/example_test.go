package p2p_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/p2p"
)

func Example() {
	// Hosts on one machine, which is not public.
	server, err := p2p.Open(&p2p.Options{Listen: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := p2p.Open(&p2p.Options{AllowPrivate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	hello := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello from %s", r.URL.Path) }
	if err := server.Serve("/hello/1", http.HandlerFunc(hello)); err != nil {
		fmt.Println(err)
		return
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://server/world", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := client.RoundTripper(server.Info(), "/hello/1").RoundTrip(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	fmt.Println(string(text), err)
	// Output: hello from /world <nil>
}
