package backends_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// TestValuesSwept waits until the rows of what was removed are gone.
func TestValuesSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config.Default(t.TempDir())
		c.IPNI.Values = "mem://"
		v, err := backends.OpenValues(t.Context(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		for tag := range valuestore.Tag(3) {
			if err := v.Put(t.Context(), tag, valuestore.Records(nil).Append(dhash.Key{1}, []byte("x"))); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Remove(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		n := 0
		for _, err := range v.Rows.Scan(t.Context(), kv.Prefix([]byte("v"))) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
		if err := v.Close(); err != nil { // which ends the sweeping, or the test does not end
			t.Error(err)
		}
	})
}
