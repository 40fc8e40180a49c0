// Package wal writes and reads logs: files of frames, each durable before the next is
// written. docs/formats/segment.md describes the bytes.
//
// Because a frame is written only when the one before it is durable, a crash damages
// the last frame alone. Damage before a whole frame is not a crash.
//
// # Errors
//
// Damage matches [digest.ErrMismatch] and names the file and the offset.
//
// A Log is not safe for concurrent use.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
)

// Sizes of the format, in bytes. Frames begin at multiples of a page, so that
// none is in a page with another: what is durable is not written again.
const (
	magic    = "hsvallog"
	version  = 1
	headSize = 8 + 1 + 7 + 8 + 8 + 8 + 8 + 4
	// FrameHead is the room that the writer of a frame leaves at its beginning.
	FrameHead = 4 + 4 + 8 + 8 + 4
	MaxFrame  = 64 << 20
	page      = disk.Page
)

// Log is a log that is written.
type Log struct {
	f      *os.File
	number uint64
	salt   uint64
	off    int64
	synced int64
}

// Place is how far a log was durable.
type Place struct {
	Log    uint64
	Length int64
}

// Create begins a log. before is the place up to which the log before it is to be read, if
// there still is one. The directory is synced.
func Create(name string, number uint64, before Place) (*Log, error) {
	f, err := disk.Direct(name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("wal: create: %w", err)
	}
	l := &Log{f: f, number: number, off: page, synced: page}
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // never fails
	l.salt = binary.LittleEndian.Uint64(salt[:])
	b := append(disk.Aligned(page)[:0], magic...)
	b = append(b, version, 0, 0, 0, 0, 0, 0, 0)
	for _, n := range []uint64{number, l.salt, before.Log, uint64(before.Length)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if _, err = f.WriteAt(b[:page], 0); err == nil {
		err = disk.Sync(f)
	}
	if err == nil {
		err = disk.SyncDir(name)
	}
	if err != nil {
		_ = f.Close() // the error at hand counts
		_ = os.Remove(name)
		return nil, fmt.Errorf("wal: create: %w", err)
	}
	return l, nil
}

// Buffer returns an empty frame for size bytes, as Write wants it.
func Buffer(size int) []byte { return disk.Aligned(FrameHead + size + page)[:FrameHead] }

// Write writes a frame, which begins with [FrameHead] bytes of room and lies in a
// [Buffer]. It is durable after [Log.Sync]. After an error the log is as before.
func (l *Log) Write(frame []byte) error {
	n := len(frame)
	padded := (n + page - 1) &^ (page - 1)
	if n > MaxFrame || padded > cap(frame) {
		return fmt.Errorf("wal: frame of %d bytes", n)
	}
	l.seal(frame)
	clear(frame[n:padded])
	if _, err := l.f.WriteAt(frame[:padded], l.off); err != nil {
		return fmt.Errorf("wal: write: %w", err)
	}
	l.off += int64(padded)
	return nil
}

// Sync makes what was written durable. After an error nobody knows what is: the log takes
// nothing more, and [Log.Place] is where it was at before.
func (l *Log) Sync() error {
	if err := disk.Sync(l.f); err != nil {
		return fmt.Errorf("wal: sync: %w", err)
	}
	l.synced = l.off
	return nil
}

// Place returns up to where the log is durable.
func (l *Log) Place() Place { return Place{l.number, l.synced} }

// Close closes the file.
func (l *Log) Close() error { return l.f.Close() }

// seal writes the head of a frame: checksum of the head, magic, offset, salt, length.
func (l *Log) seal(frame []byte) {
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-FrameHead))
	binary.LittleEndian.PutUint64(frame[8:], uint64(l.off))
	binary.LittleEndian.PutUint64(frame[16:], l.salt)
	binary.LittleEndian.PutUint32(frame[24:], crc32.Checksum(frame[4:24], crc32.MakeTable(crc32.Castagnoli)))
	binary.LittleEndian.PutUint32(frame, crc32.Checksum(frame[4:], crc32.MakeTable(crc32.Castagnoli)))
}

// Reader reads a log.
type Reader struct {
	name   string
	f      *os.File
	size   int64
	off    int64
	number uint64
	salt   uint64
	before Place
}

// Open opens a log to read it. A log that was cut off while it was begun is
// empty; then the error matches [io.EOF].
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("wal: open: %w", err)
	}
	r := &Reader{name: name, f: f, off: page}
	if err = r.head(); err != nil {
		_ = f.Close() // it was read only
		return nil, err
	}
	return r, nil
}

func (r *Reader) head() error {
	info, err := r.f.Stat()
	if err != nil {
		return fmt.Errorf("wal: open: %w", err)
	}
	r.size = info.Size()
	var b [headSize]byte
	if _, err := r.f.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return fmt.Errorf("wal: read %s: %w", r.name, err)
	}
	sum := crc32.Checksum(b[:headSize-4], crc32.MakeTable(crc32.Castagnoli))
	switch {
	case string(b[:8]) == magic && sum == binary.LittleEndian.Uint32(b[headSize-4:]):
	case r.size <= page:
		return fmt.Errorf("wal: open %s: cut off at its beginning: %w", r.name, io.EOF)
	default:
		return r.damaged(0, "no head of a log")
	}
	if b[8] != version {
		return fmt.Errorf("wal: open %s: version %d, not %d", r.name, b[8], version)
	}
	r.number = binary.LittleEndian.Uint64(b[16:])
	r.salt = binary.LittleEndian.Uint64(b[24:])
	r.before = Place{binary.LittleEndian.Uint64(b[32:]), int64(binary.LittleEndian.Uint64(b[40:]))}
	return nil
}

// Number returns the number of the log.
func (r *Reader) Number() uint64 { return r.number }

// Before returns the place up to which the log before this one was durable.
func (r *Reader) Before() Place { return r.before }

// Size returns the bytes of the file.
func (r *Reader) Size() int64 { return r.size }

// Next returns the content of the next frame, or [io.EOF] at the end. If end is
// positive, the log is known to reach to it. Otherwise it ends with the last
// whole frame, unless there is a whole one behind what is damaged.
func (r *Reader) Next(end int64) ([]byte, error) {
	if end > 0 && r.off >= end {
		return nil, io.EOF
	}
	b, err := r.frame(r.off)
	switch {
	case err == nil:
		r.off += (int64(FrameHead+len(b)) + page - 1) &^ (page - 1)
		return b, nil
	case !errors.Is(err, digest.ErrMismatch) || end > 0:
		return nil, err
	}
	for at := r.off + page; at < r.size; at += page {
		if _, later := r.frame(at); !errors.Is(later, digest.ErrMismatch) {
			return nil, err // which was durable when the later one was written
		}
	}
	return nil, io.EOF
}

// frame reads the frame at an offset.
func (r *Reader) frame(at int64) ([]byte, error) {
	var h [FrameHead]byte
	if _, err := r.f.ReadAt(h[:], at); err == io.EOF {
		return nil, r.damaged(at, "the file ends")
	} else if err != nil {
		return nil, fmt.Errorf("wal: read %s at byte %d: %w", r.name, at, err)
	}
	size := binary.LittleEndian.Uint32(h[4:])
	if binary.LittleEndian.Uint32(h[24:]) != crc32.Checksum(h[4:24], crc32.MakeTable(crc32.Castagnoli)) ||
		binary.LittleEndian.Uint64(h[8:]) != uint64(at) || binary.LittleEndian.Uint64(h[16:]) != r.salt || size > MaxFrame {
		return nil, r.damaged(at, "no head of a frame")
	}
	if int64(size) > r.size-at-FrameHead {
		return nil, r.damaged(at, "a frame of %d bytes is cut off", size)
	}
	b := make([]byte, size)
	if _, err := r.f.ReadAt(b, at+FrameHead); err != nil && err != io.EOF {
		return nil, fmt.Errorf("wal: read %s at byte %d: %w", r.name, at, err)
	}
	sum := crc32.Update(crc32.Checksum(h[4:], crc32.MakeTable(crc32.Castagnoli)), crc32.MakeTable(crc32.Castagnoli), b)
	if sum != binary.LittleEndian.Uint32(h[:]) {
		return nil, r.damaged(at, "wrong checksum of a frame")
	}
	return b, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

func (r *Reader) damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("wal: read %s at byte %d: %w: %s", r.name, at, digest.ErrMismatch, fmt.Sprintf(format, args...))
}

// Offset returns the end of what was read.
func (r *Reader) Offset() int64 { return r.off }
