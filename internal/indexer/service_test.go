package indexer

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/internal/config"
)

// Nodes that would take each other's publishers, or drop each other's records, do not start.
func TestSharedStores(t *testing.T) {
	const shared = "postgres://127.0.0.1:1/hashstream"
	for name, c := range map[string]config.Config{
		"ingestion without leases": {IPNI: config.IPNI{Roles: []string{RoleIngest, RoleStore}, Values: "segments:ipni"}, Store: config.Store{Index: shared}},
		"copies in one store":      {IPNI: config.IPNI{Roles: []string{RoleStore}, Values: shared, State: shared}, Store: config.Store{Index: "pebble:index"}},
	} {
		_, err := Open(t.Context(), c, Node{})
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "ipni.") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]config.Config{
		"an index of its own": {IPNI: config.IPNI{Roles: []string{RoleIngest, RoleStore}, State: "pebble:state"}, Store: config.Store{Index: shared}},
		"lookups alone":       {IPNI: config.IPNI{Roles: []string{RoleStore, RoleFind}, Values: shared}, Store: config.Store{Index: shared}},
		"copies":              {IPNI: config.IPNI{Roles: []string{RoleStore, RoleIngest}, Values: "segments:ipni", State: shared}, Store: config.Store{Index: shared}},
	} {
		if err := checkShared(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
