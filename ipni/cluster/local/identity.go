package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Keys among the rows of the store, as docs/formats/ipni.md gives them.
const (
	identityKey = "Si"
	clusterKey  = "Sc"
)

// idSize is the size of the names of stores and clusters, in bytes.
const idSize = 16

// NewID returns a new name of a store or a cluster: 32 random hexadecimal digits.
func NewID() string {
	var b [idSize]byte
	rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Identity returns the name that no other store has. It is made when it is first asked for, and gone when the
// records are: so whoever remembers it can tell that they are.
func (n *Node) Identity(ctx context.Context) (string, error) {
	var id string
	err := n.store.Rows().Update(ctx, []byte(identityKey), func(old []byte) (_ []byte, err error) {
		if old == nil {
			old, _ = hex.DecodeString(NewID())
		}
		id, err = nameOf(old)
		return old, err
	})
	if err != nil {
		return "", fmt.Errorf("local: identity: %w", err)
	}
	return id, nil
}

// Cluster returns the name of the cluster that the records belong to, "" if they belong to none.
func (n *Node) Cluster(ctx context.Context) (string, error) {
	b, err := n.store.Rows().Get(ctx, []byte(clusterKey))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var id string
	if err == nil {
		id, err = nameOf(b)
	}
	if err != nil {
		return "", fmt.Errorf("local: cluster: %w", err)
	}
	return id, nil
}

// SetCluster makes the records those of a cluster with a name as of [NewID].
func (n *Node) SetCluster(ctx context.Context, id string) error {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != idSize {
		return fmt.Errorf("local: set cluster %q: %w", id, fs.ErrInvalid)
	}
	err = n.store.Rows().Update(ctx, []byte(clusterKey), func([]byte) ([]byte, error) { return b, nil })
	if err != nil {
		return fmt.Errorf("local: set cluster: %w", err)
	}
	return nil
}

func nameOf(b []byte) (string, error) {
	if len(b) != idSize {
		return "", fmt.Errorf("a name of %d bytes: %w", len(b), digest.ErrMismatch)
	}
	return hex.EncodeToString(b), nil
}

// Empty reports whether the store holds neither records nor metadata.
func (n *Node) Empty(ctx context.Context) (bool, error) {
	for _, err := range n.store.ExportSealed(ctx, valuestore.Everything()) {
		return false, err
	}
	all := valuestore.Everything()
	for _, err := range n.store.ExportMetadata(ctx, dhash.MetadataKey(all.From), dhash.MetadataKey(all.To)) {
		return false, err
	}
	return true, nil
}
