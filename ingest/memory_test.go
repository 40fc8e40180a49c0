package ingest_test

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/unixfs"
)

// nowhere is a store that forgets, so that only the memory of an add remains.
type nowhere struct{}

func (nowhere) Draft(context.Context) (blob.Draft, error) { return nowhere{}, nil }
func (nowhere) ReadAt(b []byte, _ int64) (int, error)     { return len(b), nil }
func (nowhere) WriteAt(b []byte, _ int64) (int, error)    { return len(b), nil }
func (nowhere) Truncate(int64) error                      { return nil }
func (nowhere) Commit(context.Context, string) error      { return nil }
func (nowhere) Discard() error                            { return nil }

// counting is a file without end in which no 4 KiB are like others.
type counting struct{}

func (counting) ReadAt(b []byte, off int64) (int, error) {
	for i := int(-off & 4095); i+8 <= len(b); i += 4096 {
		binary.BigEndian.PutUint64(b[i:], uint64(off)+uint64(i))
	}
	return len(b), nil
}

var _ io.ReaderAt = counting{}

// TestMemoryIsBounded adds a file that is much larger than the memory it may take.
// HASHSTREAM_MEMORY_MIB sets how large.
func TestMemoryIsBounded(t *testing.T) {
	size, err := strconv.ParseInt(os.Getenv("HASHSTREAM_MEMORY_MIB"), 10, 64)
	if err != nil {
		size = 256
	}
	for chunk, limit := range map[int64]uint64{1 << 20: 40 << 20, 64 << 10: 40 << 20} {
		p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize = chunk })
		runtime.GC()
		var peak uint64
		var done int64
		read := func(_ string, n int64) {
			if done += n; done%(16<<20) < n {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse+m.StackInuse)
			}
		}
		o := &ingest.Options{Profile: p, PackSize: 32 << 20, Concurrency: 2, Trace: ingest.Trace{Read: read}}
		if _, err := ingest.AddFile(t.Context(), counting{}, size<<20, "f", ingest.Destination{Packs: nowhere{}}, o); err != nil {
			t.Fatal(err)
		}
		if peak == 0 || peak > limit {
			t.Errorf("chunks of %d: %d MiB of memory in use, at most %d are allowed", chunk, peak>>20, limit>>20)
		}
	}
}
