// Package disk opens files past the page cache and makes them durable.
//
// A page of the cache that is read or written once costs more time than the device takes
// for it, and displaces one that is read often. Where the system cannot go past the cache, the
// functions do the same with it.
package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"unsafe"
)

// Page is what offsets, lengths and buffers of direct reads and writes are multiples of, in
// bytes.
const Page = 4096

// Aligned returns a buffer of n bytes that starts on a page.
func Aligned(n int) []byte {
	b := make([]byte, n+Page)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (Page - 1)
	return b[skip : skip+n : skip+n]
}

// SyncDir makes the names in the directory of a file durable.
func SyncDir(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err == nil {
		err = d.Sync()
		_ = d.Close() // it was read only
	}
	if err != nil {
		return fmt.Errorf("disk: sync directory: %w", err)
	}
	return nil
}
