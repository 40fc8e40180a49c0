package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hashstream/hashstream/digest"
)

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "identity.key")
	keys := make([]crypto.PrivKey, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := Load(file)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	all.Wait()
	for _, key := range keys {
		if key == nil || !key.Equals(keys[0]) {
			t.Fatal("the same file gave different keys")
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	if err := os.WriteFile(file, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("bad key: %v", err)
	}
}

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if _, err := Token(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{" secret\n": "secret", "\n": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Token(file); got != want || (want == "") != errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
