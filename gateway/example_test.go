package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/hashstream/hashstream/gateway"
)

// A gateway over blocks in memory, behind its limits. The probe CID is there
// even if nothing else is.
func Example() {
	limits := gateway.NewRateLimit(50, nil)
	busy := gateway.NewConcurrencyLimit(1000, nil)
	server := httptest.NewServer(limits.Wrap(busy.Wrap(gateway.New(memory{}, nil))))
	defer server.Close()

	for _, path := range []string{"/ipfs/bafkqabtimvwgy3yk?format=raw", "/ipfs/bafkqaaa?format=car", "/ipfs/bafkqaaa/photo.jpg"} {
		res, err := http.Get(server.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Println(res.StatusCode, res.Header.Get("Content-Type"), len(body))
	}
	// Output:
	// 200 application/vnd.ipld.raw 6
	// 200 application/vnd.ipld.car; version=1; order=dfs; dups=n 26
	// 406 text/plain; charset=utf-8 222
}
