package origin_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/zeebo/blake3"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/outboard"
	"github.com/hashstream/hashstream/streamer"
)

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// raw returns the bytes of a blob.
func (s *site) raw(t *testing.T, root cid.Cid) ([]byte, error) {
	t.Helper()
	str := streamer.New(index.New(s.keys, nil), s.packs, &streamer.Options{Files: paths{s}, Trees: outboard.New(s.keys, nil)})
	body, err := str.Open(t.Context(), block.Selection{Root: root, Encoding: block.EncodingRaw})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = body.Send(t.Context(), &b)
	return b.Bytes(), err
}

// TestBlob follows a file that is one block: as it is first, unchanged, changed, renamed
// and gone.
func TestBlob(t *testing.T) {
	for _, level := range []index.Level{index.LevelAll, index.LevelSingle, index.LevelMultiple} {
		t.Run(string(level), func(t *testing.T) {
			s := newSite(t, level)
			name := filepath.Join(s.dir, "f")
			s.src.URL, s.src.Blob = name, true
			data := noise(1, 3<<20)
			s.write(t, map[string]string{"f": string(data), "other": "x"})
			scan := func(data []byte, stored bool, read int) cid.Cid {
				t.Helper()
				s.read.Store(0)
				got := s.scan(t)
				sum := blake3.Sum256(data)
				d := got.Result.Root
				if p := d.Prefix(); p.Codec != cid.Raw || !bytes.HasSuffix(d.Hash(), sum[:]) || got.Files != 1 || got.Bytes != int64(len(data)) || got.Result.Stored != stored {
					t.Errorf("scan gave %s, %+v", d, got)
				}
				if s.read.Load() != int64(read) {
					t.Errorf("%d bytes were hashed, want %d", s.read.Load(), read)
				}
				if b, err := s.raw(t, d); err != nil || !bytes.Equal(b, data) {
					t.Errorf("served %d bytes, %v", len(b), err)
				}
				return d
			}
			first := scan(data, true, len(data))
			scan(data, false, 0)

			data2 := noise(2, 4<<20)
			s.write(t, map[string]string{"f": string(data2)})
			if _, err := s.raw(t, first); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("changed: %v", err)
			}
			scan(data2, true, len(data2))
			if _, err := s.raw(t, first); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after the next scan: %v", err)
			}

			// The same file under another name is known, as a blob; as chunks it is not.
			must(t, os.Rename(name, name+"2"))
			s.src.URL = name + "2"
			scan(data2, true, 0)
			if level != index.LevelSingle { // without plans, chunks are not found again
				s.src.Blob = false
				s.read.Store(0)
				if got := s.scan(t); got.Result.Root.Prefix().Codec == cid.Raw || s.read.Load() != int64(len(data2)) {
					t.Errorf("as chunks: %s, %d bytes were hashed", got.Result.Root, s.read.Load())
				}
			}
			s.src.Blob = true
			st := origin.Source{URL: s.src.URL, Profile: s.src.Profile, Level: s.src.Level, Blob: true}
			must(t, s.indexer.Forget(t.Context(), st))
		})
	}
}

// TestBlobOfDirectory has no one file.
func TestBlobOfDirectory(t *testing.T) {
	s := newSite(t, index.LevelAll)
	s.src.Blob = true
	s.write(t, map[string]string{"f": "x"})
	if _, err := s.indexer.Scan(t.Context(), s.src, nil); !errors.Is(err, origin.ErrDirectory) {
		t.Errorf("a directory: %v", err)
	}
	s.src.URL = filepath.Join(s.dir, "f")
	if _, err := s.indexer.Scan(t.Context(), s.src, &origin.ScanOptions{Wrap: "f"}); !errors.Is(err, origin.ErrDirectory) {
		t.Errorf("wrapped: %v", err)
	}
}
