package treeblob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

// settled is how old the last change of a file must be before its times are believed to
// show the next one: clocks are coarse, and what is written through a mapping may show
// only when the page goes to the disk, which is half a minute by default on Linux.
const settled = time.Minute

// state is all that shows a change of one file. The time of the last status change
// cannot be set back.
type state struct {
	dev, ino            uint64
	size, mtime, change int64 // bytes, nanoseconds
}

func stateOf(fi fs.FileInfo) state {
	s := state{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino, s.change = uint64(st.Dev), uint64(st.Ino), changeTime(st)
	}
	return s
}

// version names the state for as long as this process lives. It is empty for a file
// that may change without showing it: one that changed lately, or by its own time will.
func (s state) version(now time.Time) string {
	if now.Add(-settled).UnixNano() < max(s.change, s.mtime) {
		return ""
	}
	return string(strconv.AppendInt(append(s.identity(), '-'), s.change, 16))
}

// identity is what a rename, a hard link and another mount leave as it is.
func (s state) identity() []byte {
	b := strconv.AppendInt(make([]byte, 0, 64), s.size, 16)
	b = strconv.AppendInt(append(b, '-'), s.mtime, 16)
	return strconv.AppendUint(append(b, '-'), s.ino, 16)
}

// Identity returns the [blob.Info.Identity] of a file: its size, modification time and
// inode.
func Identity(fi fs.FileInfo) string { return string(stateOf(fi).identity()) }

// Same returns what two names have in common if they are one file, renamed or linked:
// the device beside the identity. It is empty where the system does not tell.
func Same(fi fs.FileInfo) string {
	s := stateOf(fi)
	if s.ino == 0 {
		return ""
	}
	return strconv.FormatUint(s.dev, 16) + "-" + string(s.identity())
}

// rootMethods are what the file system of an [os.Root] can do.
type rootMethods interface {
	fs.ReadDirFS
	fs.StatFS
	fs.ReadLinkFS
}

// rootFS is the file system of a root that opens regular files without waiting: a pipe
// or a device that stands where a file was is refused rather than read.
type rootFS struct {
	rootMethods
	root *os.Root
}

// Open implements [fs.FS].
func (f rootFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// absent makes every error that means that no such file is below the root match
// [fs.ErrNotExist].
func absent(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) { // the root's own refusal: a link that leads out of it
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	switch errno {
	case syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.ENXIO, syscall.ENODEV:
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return err
}
