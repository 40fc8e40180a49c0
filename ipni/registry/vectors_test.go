package registry

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// TestDocumentedVectors wants each row on the page, as "    key" and "    value".
func TestDocumentedVectors(t *testing.T) {
	text, err := os.ReadFile("../../docs/formats/ipni.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(text), "\nRows of the registry")
	s := memkv.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lag := 3
	apply(t, s, Change{
		Provider: ipnitest.ID(7), Order: 12, Addrs: []multiaddr.Multiaddr{addr(80)}, Advertisement: testCID(1), AdvertisementTime: now,
		Publisher: &peer.AddrInfo{ID: ipnitest.ID(7), Addrs: []multiaddr.Multiaddr{addr(80)}}, Lag: &lag,
		Extended: &Set{ContextID: "\x09\x09", Override: true, Providers: extended(2)},
	}, Change{Provider: ipnitest.ID(7), Order: 11, Extended: &Set{}})
	rows := 0
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		rows++
		if row := "    " + hex.EncodeToString(p.Key) + "\n    " + string(p.Value) + "\n"; !strings.Contains(page, row) {
			t.Errorf("not documented:\n%s", row)
		}
	}
	if n := strings.Count(page, "\n    "); n != 2*rows || rows != 3 {
		t.Errorf("%d lines are documented, there are %d rows", n, rows)
	}
}
