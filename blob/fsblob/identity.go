//go:build unix

package fsblob

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hashstream/hashstream/blob"
)

// identity tells one state of one file from all others.
type identity struct {
	dev, ino    uint64
	size, mtime int64 // bytes, nanoseconds
}

func identify(fi fs.FileInfo) identity {
	id := identity{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = uint64(st.Dev), uint64(st.Ino)
	}
	return id
}

func (id identity) version() string {
	b := make([]byte, 0, 48)
	b = strconv.AppendInt(b, id.size, 16)
	b = strconv.AppendInt(append(b, '-'), id.mtime, 16)
	b = strconv.AppendUint(append(b, '-'), id.ino, 16)
	return string(b)
}

// names reports whether key still names the file id, unchanged. It follows links
// out of the root, which is harmless: it only compares with a file that was
// opened inside.
func (s *Store) names(key string, id identity) bool {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(int(s.dir.Fd()), key, &st, 0)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return false
		}
	}
	return id == identity{uint64(st.Dev), uint64(st.Ino), st.Size, unix.TimespecToNsec(st.Mtim)}
}

func info(key string, fi fs.FileInfo) blob.Info {
	return blob.Info{Key: key, Size: fi.Size(), ModTime: fi.ModTime(), Version: identify(fi).version()}
}

// lock takes the lock that says "a living process uses this file". Held is false
// if somebody else has it. Where the file system knows no locks nobody gets it,
// and nothing is ever taken for stale.
func lock(f *os.File) (held bool, err error) {
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, err
}
