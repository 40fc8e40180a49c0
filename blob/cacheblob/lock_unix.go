//go:build unix

package cacheblob

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the directory for this process, until the file is closed.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return errors.New("another process uses the cache")
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
