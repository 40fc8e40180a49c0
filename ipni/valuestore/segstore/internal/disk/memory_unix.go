//go:build unix

package disk

import "golang.org/x/sys/unix"

// Memory returns n bytes outside of the heap: the collector would let the heap grow to twice
// of what lives long in it. They are given back by [Release], after their last use.
func Memory(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n, n+1) // Release knows it by its capacity
	}
	return b
}

// Release gives back what [Memory] returned.
func Release(b []byte) {
	if cap(b) == len(b) {
		_ = unix.Munmap(b) // it is a mapping
	}
}
