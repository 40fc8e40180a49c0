package index

import (
	"encoding/hex"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/formattest"
)

func TestDocumentedVectors(t *testing.T) {
	d, err := digest.Sum(digest.SHA256, []byte("hello world"))
	if err != nil {
		t.Fatal(err)
	}
	r := Location{Pack: d}.ref()
	documented := formattest.Vectors(t, "../docs/formats/record.md")
	documented["segment"] = formattest.Vectors(t, "../docs/formats/plan.md")["segment"]
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
