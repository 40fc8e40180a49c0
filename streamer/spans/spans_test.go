package spans_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashstream/hashstream/streamer/spans"
)

// TestCoversLikeAMap compares a set with one bit for each byte.
func TestCoversLikeAMap(t *testing.T) {
	const size = 200
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		set, bytes := spans.New(), [size]bool{}
		for range 30 {
			off := rng.Int64N(size)
			n := 1 + rng.Int64N(size-off)/8
			set.Add("key", "1", off, n)
			for i := off; i < off+n; i++ {
				bytes[i] = true
			}
		}
		for off := range int64(size) {
			whole := true
			for n := int64(1); off+n <= size; n++ {
				whole = whole && bytes[off+n-1]
				if got := set.Covers("key", "1", off, n); got != whole {
					t.Fatalf("Covers(%d, %d) = %v, want %v", off, n, got, whole)
				}
			}
		}
	}
}

func TestVersions(t *testing.T) {
	set := spans.New()
	set.Add("key", "1", 0, 100)
	for _, tc := range []struct {
		key, version string
		want         bool
	}{{"key", "1", true}, {"key", "2", false}, {"other", "1", false}} {
		if got := set.Covers(tc.key, tc.version, 10, 20); got != tc.want {
			t.Errorf("Covers(%s, %s) = %v", tc.key, tc.version, got)
		}
	}
	set.Add("key", "2", 0, 10)
	if set.Covers("key", "1", 10, 20) {
		t.Error("an old version is covered")
	}
	set.Forget("key")
	if set.Covers("key", "2", 0, 10) {
		t.Error("a forgotten object is covered")
	}
	set.Add("unversioned", "", 0, 10)
	if set.Covers("unversioned", "", 0, 10) {
		t.Error("an object that may have changed unseen is covered")
	}
}

func Example() {
	set := spans.New()
	set.Add("pack", "v1", 0, 100)
	set.Add("pack", "v1", 100, 50)
	fmt.Println(set.Covers("pack", "v1", 20, 120), set.Covers("pack", "v1", 20, 140), set.Covers("pack", "v2", 20, 10))
	// Output: true false false
}
