//go:build !linux

package disk

import "os"

// Direct opens a file past the page cache, if the system can do that.
func Direct(name string, flag int) (*os.File, error) { return os.OpenFile(name, flag, 0o644) }

// Sync makes the bytes of f durable.
func Sync(f *os.File) error { return f.Sync() }
