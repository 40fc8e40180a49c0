package accept_test

import (
	"fmt"

	"github.com/hashstream/hashstream/accept"
)

func Example() {
	ranges, err := accept.Parse([]string{"application/x-ndjson;q=0.5, application/*"})
	if err != nil {
		panic(err)
	}
	for _, typ := range []string{"application/json", "application/x-ndjson", "text/html"} {
		p := accept.Weigh(ranges, typ, nil)
		fmt.Println(typ, p.Weight, p.Specificity == accept.Exact)
	}
	// Output:
	// application/json 1000 false
	// application/x-ndjson 500 true
	// text/html 0 false
}
