package httpblob_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashstream/hashstream/blob/httpblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/streamer"
)

// site is a directory of packs as a static web server has it.
type site struct {
	files    map[string][]byte
	modified time.Time
}

// servers are the ways in which web servers tell of a file. Go's own and most others
// answer ranges; some tell no validator, some send every file whole.
func (s *site) servers() map[string]http.HandlerFunc {
	find := func(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
		b, ok := s.files[strings.TrimPrefix(r.URL.Path, "/packs/")]
		if !ok {
			http.NotFound(w, r)
		}
		return b, ok
	}
	content := func(etag string, modified time.Time) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if b, ok := find(w, r); ok {
				if w.Header().Set("Content-Type", "application/octet-stream"); etag != "" {
					w.Header().Set("ETag", etag)
				}
				http.ServeContent(w, r, "", modified, bytes.NewReader(b))
			}
		}
	}
	return map[string]http.HandlerFunc{
		"nginx":           content(`"6740-12d687"`, s.modified),
		"nginx, etag off": content("", s.modified),
		"weak tag":        content(`W/"1"`, s.modified),
		"no validators":   content("", time.Time{}),
		"no ranges": func(w http.ResponseWriter, r *http.Request) {
			if b, ok := find(w, r); ok {
				w.Header().Set("Content-Length", strconv.Itoa(len(b)))
				w.Header().Set("Last-Modified", s.modified.UTC().Format(http.TimeFormat))
				if r.Method != http.MethodHead {
					w.Write(b)
				}
			}
		},
	}
}

// tree is files to be served.
func tree() fstest.MapFS {
	files, rng := fstest.MapFS{}, rand.New(rand.NewPCG(8, 9))
	for i := range 12 {
		b := make([]byte, rng.IntN(900_000))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		files["top/"+strconv.Itoa(i)] = &fstest.MapFile{Data: b}
	}
	return files
}

// TestPacks serves DAGs whose packs are on a web server, indexed from there and verified.
func TestPacks(t *testing.T) {
	local, keys := memblob.New(), memkv.New()
	dst := ingest.Destination{Packs: local, Record: func() ingest.Recorder { return index.NewBuilder(keys, index.LevelAll) }}
	res, err := ingest.Add(t.Context(), tree(), "top", dst, &ingest.Options{PackSize: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{files: map[string][]byte{}, modified: time.Now().Add(-time.Hour)}
	var packs []digest.Digest
	for info, err := range local.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		obj, err := local.Get(t.Context(), info.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(obj)
		obj.Close()
		d, err2 := digest.Parse(strings.TrimSuffix(info.Key, ".car"))
		if errors.Join(err, err2) != nil {
			t.Fatal(err, err2)
		}
		s.files[info.Key] = b.Bytes()
		packs = append(packs, d)
	}
	selections := []block.Selection{
		{Root: res.Root, Scope: block.ScopeAll, Encoding: block.EncodingCAR},
		{Root: res.Root, Scope: block.ScopeEntity, Path: []string{"3"}, Bytes: &block.ByteRange{From: 100_000, To: 400_000}, Encoding: block.EncodingCAR},
		{Root: res.Root, Scope: block.ScopeBlock, Encoding: block.EncodingRaw},
	}
	want := streamer.New(index.New(keys, nil), local, nil)
	for name, handler := range s.servers() {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler)
			defer srv.Close()
			g, err := httpblob.New(srv.URL+"/packs", nil)
			if err != nil {
				t.Fatal(err)
			}
			keys := memkv.New()
			a := adopt.New(adopt.Home{Keys: keys, Packs: g}, nil)
			for _, d := range packs {
				if _, err := a.Pack(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.DAG(t.Context(), res.Root); err != nil {
				t.Fatal(err)
			}
			for i, sel := range selections {
				for _, verify := range []streamer.Verify{streamer.VerifyOnce, streamer.VerifyAlways} {
					remote := streamer.New(index.New(keys, nil), g, &streamer.Options{Verify: verify})
					for range 2 { // the second time it may be known
						if got, err := send(t, remote, sel); err != nil || !bytes.Equal(got, must(t, want, sel)) {
							t.Errorf("selection %d: %d bytes, %v", i, len(got), err)
						}
					}
				}
			}
			s.damaged(t, streamer.New(index.New(keys, nil), g, nil), selections[0], packs[0].String()+".car")
		})
	}
}

// damaged flips a byte of a pack, then removes it.
func (s *site) damaged(t *testing.T, remote *streamer.Streamer, sel block.Selection, key string) {
	t.Helper()
	whole := s.files[key]
	defer func() { s.files[key] = whole }()
	bad := bytes.Clone(whole)
	bad[len(bad)/2] ^= 1
	s.files[key] = bad
	if got, err := send(t, remote, sel); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a damaged pack: %d bytes, %v", len(got), err)
	}
	delete(s.files, key)
	if got, err := send(t, remote, sel); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a pack that is gone: %d bytes, %v", len(got), err)
	}
}

func send(t *testing.T, s *streamer.Streamer, sel block.Selection) ([]byte, error) {
	t.Helper()
	body, err := s.Open(t.Context(), sel)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = body.Send(t.Context(), &b)
	return b.Bytes(), err
}

func must(t *testing.T, s *streamer.Streamer, sel block.Selection) []byte {
	t.Helper()
	b, err := send(t, s, sel)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
