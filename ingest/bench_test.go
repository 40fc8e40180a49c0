package ingest_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/unixfs"
)

// benchSize is the bytes that the file benchmarks add. The environment variable
// HASHSTREAM_BENCH_MIB overrides it.
func benchSize(b *testing.B) int64 {
	n, err := strconv.ParseInt(os.Getenv("HASHSTREAM_BENCH_MIB"), 10, 64)
	if err != nil {
		n = 256
	}
	return n << 20
}

func benchFile(b *testing.B, dir string, size int64) {
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	piece := random(9, 1<<20)
	for off := int64(0); off < size; off += int64(len(piece)) {
		copy(piece, fmt.Sprintf("%020d", off)) // no chunk occurs twice
		for i := 4096; i < len(piece); i += 4096 {
			copy(piece[i:], piece[:20])
			piece[i+20], piece[i+21] = byte(i>>12), byte(i>>20)
		}
		if _, err := f.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
}

func benchAdd(b *testing.B, fsys fs.FS, name string, size int64, o *ingest.Options) {
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			b.Fatal(err)
		}
		store, err := fsblob.Open(dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		db := memkv.New()
		dst := ingest.Destination{Packs: store, Record: func() ingest.Recorder { return index.NewBuilder(db, index.LevelAll) }}
		b.StartTimer()
		if _, err := ingest.Add(b.Context(), fsys, name, dst, o); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		store.Close()
		os.RemoveAll(dir)
		b.StartTimer()
	}
}

// BenchmarkBound is what all cores need to hash every byte twice.
func BenchmarkBound(b *testing.B) {
	size := benchSize(b)
	piece := random(1, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		var running sync.WaitGroup
		n := runtime.GOMAXPROCS(0)
		for range n {
			running.Go(func() {
				for range int(2*size/int64(n)) / len(piece) {
					sha256.Sum256(piece)
				}
			})
		}
		running.Wait()
	}
}

func BenchmarkAddFile(b *testing.B) {
	dir := b.TempDir()
	size := benchSize(b)
	benchFile(b, dir, size)
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	for _, chunk := range []int64{1 << 20, 256 << 10, 4 << 10} {
		b.Run(fmt.Sprintf("%dKiB", chunk>>10), func(b *testing.B) {
			p, err := unixfs.ParseProfile(unixfs.V1)
			if err != nil {
				b.Fatal(err)
			}
			p.ChunkSize = chunk
			benchAdd(b, root.FS(), "file", size, &ingest.Options{Profile: p})
		})
	}
	b.Run("v0", func(b *testing.B) {
		p, err := unixfs.ParseProfile(unixfs.V0)
		if err != nil {
			b.Fatal(err)
		}
		benchAdd(b, root.FS(), "file", size, &ingest.Options{Profile: p})
	})
}

// BenchmarkSmallFiles adds 20,000 files of 4 KiB in 200 directories.
func BenchmarkSmallFiles(b *testing.B) {
	dir := b.TempDir()
	const files, size = 20_000, 4096
	data := random(1, size)
	for i := range files {
		name := filepath.Join(dir, "top", fmt.Sprint(i%200), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		copy(data, fmt.Sprint(i, " "))
		if err := os.WriteFile(name, data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	b.ResetTimer()
	benchAdd(b, root.FS(), "top", files*size, nil)
	b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
