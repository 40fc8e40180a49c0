package segment

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/ipni/dhash"
)

// TestVector writes the segment of docs/formats/segment.md.
func TestVector(t *testing.T) {
	k := dhash.Key(bytes.Repeat([]byte{0xab}, dhash.KeySize))
	gone := record(k, "two", 300)
	gone.Gone = true
	s := write(t, 32, []Record{record(k, "one", 7), gone})
	got, err := os.ReadFile(s.name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../../../../docs/formats/segment.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "    "+hex.EncodeToString(got)+"\n") {
		t.Errorf("docs/formats/segment.md does not have the segment\n%x", got)
	}
}
