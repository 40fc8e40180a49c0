package indexer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hashstream/hashstream/digest"
)

// maxKey bounds a key file, in bytes.
const maxKey = 4 << 10

// loadKey reads the private key in file, in libp2p's protobuf form, or makes one (ed25519)
// if there is no such file.
func loadKey(file string) (crypto.PrivKey, error) {
	data, err := readSmall(file, maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("indexer: read key: %w", err)
	}
	key, err := crypto.UnmarshalPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("indexer: key %s: %w: %w", file, digest.ErrMismatch, err)
	}
	return key, nil
}

func readSmall(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d: %w", file, info.Size(), limit, fs.ErrInvalid)
	}
	return os.ReadFile(file)
}

// makeKey writes a new key. Of two processes that do so at the same time, the one that
// comes second takes the other's.
func makeKey(file string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(file, data); errors.Is(err, fs.ErrExist) {
		return loadKey(file)
	} else if err != nil {
		return nil, fmt.Errorf("indexer: write key: %w", err)
	}
	return key, nil
}

// writeNew makes a file that only its owner reads, whole and durable, or nothing.
func writeNew(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(data)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), file); err != nil { // unlike a rename, replaces nothing
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
