package digest_test

import (
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// TestVerifyAllocates: nothing, because it runs for every block that is served.
func TestVerifyAllocates(t *testing.T) {
	data := make([]byte, 100)
	for _, code := range []digest.Code{digest.SHA256, digest.SHA512, digest.BLAKE3, digest.Identity} {
		d, err := digest.Sum(code, data)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { err = d.Verify(data) }); n > 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", code, n, err)
		}
	}
}
