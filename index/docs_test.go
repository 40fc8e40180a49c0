package index

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// vectors reads the lines "    name  hex" that end a format's page.
func vectors(t *testing.T, page string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/formats/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(text), "\n## Vector")
	found := map[string]string{}
	for line := range strings.Lines(tail) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && strings.HasPrefix(line, "    ") {
			found[name] = strings.TrimSpace(value)
		}
	}
	return found
}

func TestDocumentedVectors(t *testing.T) {
	d, err := digest.Sum(digest.SHA256, []byte("hello world"))
	if err != nil {
		t.Fatal(err)
	}
	r := Location{Pack: d}.ref()
	documented := vectors(t, "record.md")
	documented["segment"] = vectors(t, "plan.md")["segment"]
	for name, b := range map[string][]byte{
		"location-pack": Location{Pack: d}.Encode(),
		"location-path": Location{Path: "/data/log.txt", Version: "b-5-7"}.Encode(),
		"ref-pack":      r[:],
		"block":         place{98, 262144}.encode(),
		"containing":    containing{flags: containingFile, first: 2, count: 6, position: 3, fileBytes: 700, sections: 1000, repeated: 1200}.encode(),
		"segment":       sampleSegment().encode(),
	} {
		if got := hex.EncodeToString(b); got != documented[name] {
			t.Errorf("%s is\n%s, documented as\n%s", name, got, documented[name])
		}
	}
}
