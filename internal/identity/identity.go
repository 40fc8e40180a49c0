// Package identity keeps secrets in files: the private key of a node, and tokens.
//
// # Errors
//
// A file that is absent matches [io/fs.ErrNotExist], one that holds no key
// [digest.ErrMismatch], one that is too large or empty [io/fs.ErrInvalid].
package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hashstream/hashstream/digest"
)

// maxKey bounds a file, in bytes.
const maxKey = 4 << 10

// Load reads the private key in file, in libp2p's protobuf form, or makes one (ed25519)
// if there is no such file.
func Load(file string) (crypto.PrivKey, error) {
	data, err := readSmall(file, maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: read key: %w", err)
	}
	key, err := crypto.UnmarshalPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("identity: key %s: %w: %w", file, digest.ErrMismatch, err)
	}
	return key, nil
}

// Token returns the text in file, without the white space around it.
func Token(file string) (string, error) {
	data, err := readSmall(file, maxKey)
	if err != nil {
		return "", fmt.Errorf("identity: read token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("identity: token %s is empty: %w", file, fs.ErrInvalid)
	}
	return token, nil
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
		return Load(file)
	} else if err != nil {
		return nil, fmt.Errorf("identity: write key: %w", err)
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
