package retryafter_test

import (
	"fmt"
	"net/http"

	"github.com/hashstream/hashstream/retryafter"
)

func Example() {
	header := http.Header{"Retry-After": {"120"}}
	fmt.Println(retryafter.Parse(header.Get("Retry-After")))
	// Output: 2m0s
}
