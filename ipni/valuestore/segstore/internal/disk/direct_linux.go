package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Direct opens a file past the page cache. Where the file system cannot do that, it is
// opened as any other.
func Direct(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag|unix.O_DIRECT, 0o644)
	if errors.Is(err, unix.EINVAL) {
		return os.OpenFile(name, flag&^os.O_EXCL, 0o644)
	}
	return f, err
}

// Sync makes the bytes of f durable, with the length, without the times.
func Sync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
