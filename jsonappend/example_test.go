package jsonappend_test

import (
	"fmt"

	"github.com/hashstream/hashstream/jsonappend"
)

func Example() {
	b := append(jsonappend.String([]byte(`{"Name":`), `a "quoted" name`), `,"Data":`...)
	b = append(jsonappend.Base64(b, []byte{1, 2, 3}), '}')
	fmt.Printf("%s\n", b)
	// Output: {"Name":"a \"quoted\" name","Data":"AQID"}
}
