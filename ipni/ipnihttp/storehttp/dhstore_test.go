package storehttp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// dhstore runs the store that is in the field, from TEST_DHSTORE or the PATH.
func dhstore(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("TEST_DHSTORE")
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("dhstore"); err != nil {
			t.Skip("no dhstore: set TEST_DHSTORE")
		}
	}
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	addr := free()
	cmd := exec.Command(binary, "-storePath", t.TempDir(), "-listenAddr", addr, "-metricsAddr", free(), "-blockCacheSize", "16Mi", "-logLevel", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGINT); cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; {
		res, err := http.Get("http://" + addr + "/ready")
		if err == nil {
			res.Body.Close()
			return "http://" + addr
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // it tells nobody when it is ready
	}
}

// TestDHStore writes to and reads from the real one, as we do to our own server by JSON.
func TestDHStore(t *testing.T) {
	c := newClient(t, dhstore(t), &storehttp.ClientOptions{Foreign: true})
	mh := dhash.Key{1}.Multihash()
	key := dhash.SecondHash(mh)
	var all valuestore.Records
	for i := range 20_000 {
		all = all.Append(dhash.SecondHash(fmt.Append(nil, i)), dhash.Seal(nil, fmt.Appendf(nil, "value key %d", i), mh))
	}
	hot := dhash.Seal(nil, []byte("the second"), mh)
	all = all.Append(key, dhash.Seal(nil, []byte("the first"), mh)).Append(key, hot)
	if err := c.PutSealed(t.Context(), ipni.SealedGroup{}, all); err != nil {
		t.Fatal(err)
	}
	if got, err := collect(c.ValueKeys(t.Context(), key), bytes.Clone); err != nil || len(got) != 2 {
		t.Errorf("%x, %v", got, err)
	}
	if err := c.DeleteSealed(t.Context(), ipni.SealedGroup{}, valuestore.Records(nil).Append(key, hot)); err != nil {
		t.Error(err)
	}
	if got, err := collect(c.ValueKeys(t.Context(), key), bytes.Clone); err != nil || len(got) != 1 {
		t.Errorf("after a delete: %x, %v", got, err)
	}
	if got, err := collect(c.ValueKeys(t.Context(), dhash.SecondHash([]byte("19999"))), bytes.Clone); err != nil || len(got) != 1 {
		t.Errorf("the last: %x, %v", got, err)
	}
	if got, err := collect(c.ValueKeys(t.Context(), dhash.Key{}), bytes.Clone); err != nil || got != nil {
		t.Errorf("none: %x, %v", got, err)
	}
	md := dhash.Seal(nil, []byte{0x80, 0x12}, []byte("value key"))
	if err := c.PutSealedMetadata(t.Context(), dhash.MetadataKey{1}, md); err != nil {
		t.Error(err)
	}
	if got, err := c.SealedMetadata(t.Context(), dhash.MetadataKey{1}); err != nil || !bytes.Equal(got, md) {
		t.Errorf("metadata: %x, %v", got, err)
	}
	if err := c.PutSealedMetadata(t.Context(), dhash.MetadataKey{1}, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.SealedMetadata(t.Context(), dhash.MetadataKey{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted metadata: %v", err)
	}
}
