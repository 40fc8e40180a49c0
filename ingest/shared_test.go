package ingest_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
)

// A large file is read by those who hash it. Its CID must be that of a normal add, and
// whatever becomes of it meanwhile must be noticed.
func TestPlaceLarge(t *testing.T) {
	dir := t.TempDir()
	content := make([]byte, 33<<20+12345)
	rand.NewChaCha8([32]byte{1}).Read(content)
	if err := os.WriteFile(filepath.Join(dir, "large"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	want, err := ingest.Add(t.Context(), os.DirFS(dir), "large", ingest.Destination{}, &ingest.Options{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken disk")
	for name, c := range map[string]struct {
		readAt func(f io.ReaderAt, p []byte, off int64) (int, error)
		cause  error
	}{
		"as it is": {func(f io.ReaderAt, p []byte, off int64) (int, error) { return f.ReadAt(p, off) }, nil},
		"shrinks": {func(f io.ReaderAt, p []byte, off int64) (int, error) {
			return io.NewSectionReader(f, 0, 20<<20).ReadAt(p, off)
		}, ingest.ErrChanged},
		"grows":  {func(f io.ReaderAt, p []byte, off int64) (int, error) { return len(p), nil }, ingest.ErrChanged},
		"breaks": {func(f io.ReaderAt, p []byte, off int64) (int, error) { return 0, broken }, broken},
	} {
		t.Run(name, func(t *testing.T) {
			keys := memkv.New()
			dst := ingest.Destination{Packs: memblob.New(), Record: func() ingest.Recorder { return index.NewBuilder(keys, index.LevelAll) }}
			fsys := readAtFS{os.DirFS(dir), c.readAt}
			got, err := ingest.Place(t.Context(), fsys, []string{"large"}, location, dst, nil)
			if !errors.Is(err, c.cause) {
				t.Fatalf("Place: %v, want %v", err, c.cause)
			}
			if c.cause == nil && (len(got) != 1 || got[0].CID != want.Root) {
				t.Errorf("Place gives %+v, want root %s", got, want.Root)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		fsys := readAtFS{os.DirFS(dir), func(f io.ReaderAt, p []byte, off int64) (int, error) {
			cancel()
			return f.ReadAt(p, off)
		}}
		if _, err := ingest.Place(ctx, fsys, []string{"large"}, location, ingest.Destination{Packs: memblob.New()}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Place: %v", err)
		}
	})
}

func location(name string, fi fs.FileInfo) (index.Location, error) {
	return index.Location{Path: name, Version: fi.ModTime().Format(time.RFC3339Nano)}, nil
}

// readAtFS gives files that are read by a function.
type readAtFS struct {
	fs.FS
	readAt func(f io.ReaderAt, p []byte, off int64) (int, error)
}

func (f readAtFS) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return readAtFile{file, f.readAt}, nil
}

type readAtFile struct {
	fs.File
	readAt func(f io.ReaderAt, p []byte, off int64) (int, error)
}

func (f readAtFile) ReadAt(p []byte, off int64) (int, error) {
	return f.readAt(f.File.(io.ReaderAt), p, off)
}
