package node_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// archive is a CAR in the making, of blocks that are right by their hashes.
type archive struct {
	t     *testing.T
	bytes []byte
}

func newArchive(t *testing.T) *archive { return &archive{t, car.AppendHeader(nil)} }

func (a *archive) cid(code digest.Code, codec uint64, data []byte) cid.Cid {
	a.t.Helper()
	d, err := digest.Sum(code, data)
	if err != nil {
		a.t.Fatal(err)
	}
	return d.CID(codec)
}

func (a *archive) put(codec uint64, data []byte) cid.Cid {
	a.t.Helper()
	c := a.cid(digest.SHA256, codec, data)
	a.bytes = append(car.AppendHead(a.bytes, c, int64(len(data))), data...)
	return c
}

func (a *archive) node(n *unixfs.FSNode, links ...*format.Link) cid.Cid {
	a.t.Helper()
	data, err := n.GetBytes()
	if err != nil {
		a.t.Fatal(err)
	}
	p := merkledag.NodeWithData(data)
	for _, l := range links {
		if err := p.AddRawLink(l.Name, l); err != nil {
			a.t.Fatal(err)
		}
	}
	if data, err = p.Marshal(); err != nil {
		a.t.Fatal(err)
	}
	return a.put(cid.DagProtobuf, data)
}

// array is a dag-cbor list of links.
func array(links ...cid.Cid) []byte {
	b := []byte{0x80 | byte(len(links))}
	for _, c := range links {
		b = append(b, 0xd8, 0x2a, 0x58, byte(c.ByteLen()+1), 0)
		b = append(b, c.Bytes()...)
	}
	return b
}

// nest puts c into identity CIDs, one inside of the other.
func (a *archive) nest(c cid.Cid, levels int) cid.Cid {
	for range levels {
		c = a.cid(digest.Identity, cid.DagCBOR, array(c))
	}
	return c
}

// file is levels nodes, each of which links fan times to the one below.
func (a *archive) file(levels, fan int) cid.Cid {
	below, size := a.put(cid.Raw, []byte("leaf")), uint64(4)
	for range levels {
		n := unixfs.NewFSNode(unixfs.TFile)
		var links []*format.Link
		for range fan {
			n.AddBlockSize(size)
			links = append(links, &format.Link{Cid: below, Size: size})
		}
		below, size = a.node(n, links...), n.FileSize()
	}
	return below
}

// shards is levels shards, each of which links 256 times to the one below.
func (a *archive) shards(levels int) cid.Cid {
	data := func() *unixfs.FSNode {
		b, err := unixfs.HAMTShardData(bytes.Repeat([]byte{0xff}, 32), 256, 0x22)
		if err != nil {
			a.t.Fatal(err)
		}
		n, err := unixfs.FSNodeFromBytes(b)
		if err != nil {
			a.t.Fatal(err)
		}
		return n
	}
	below, suffix := a.put(cid.Raw, []byte("leaf")), "name"
	for range levels {
		var links []*format.Link
		for i := range 256 {
			links = append(links, &format.Link{Name: fmt.Sprintf("%02X%s", i, suffix), Cid: below})
		}
		below, suffix = a.node(data(), links...), ""
	}
	return below
}

// TestBombs imports DAGs of few blocks that stand for many, and asks for all of
// them. Answers are whole, or go on until the client loses its patience.
func TestBombs(t *testing.T) {
	n := start(t, nil)
	a := newArchive(t)
	leaf := a.put(cid.Raw, []byte("below a nest"))
	roots := map[string]cid.Cid{
		"identity CIDs in ten levels": a.put(cid.DagCBOR, array(a.nest(a.cid(digest.Identity, cid.Raw, []byte("x")), 10))),
		"a block below a nest":        a.put(cid.DagCBOR, array(a.nest(leaf, 7), leaf)),
		"a file of 2^60 leaves":       a.file(60, 2),
		"a deep file":                 a.file(240, 1),
		"a file of 1000^6 leaves":     a.file(6, 1000),
		"shards of 256^7 entries":     a.shards(7),
	}
	began := time.Now()
	if _, err := importCAR(t, n.config, a.bytes); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("the import took %v", took)
	}
	endless := map[string]bool{"&car-dups=y": true, "&dag-scope=entity&car-dups=y": true, "&entity-bytes=1000000000:2000000000&car-dups=y": true}
	for name, root := range roots {
		for _, query := range []string{"", "&dag-scope=entity", "&dag-scope=entity&car-dups=y", "&car-dups=y", "&entity-bytes=1000000000:2000000000&car-dups=y", "&entity-bytes=-10:*"} {
			patience := time.Minute
			if endless[query] {
				patience = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			status, sent, err := drain(ctx, n.url+"/ipfs/"+root.String()+"?format=car"+query)
			cancel()
			late := errors.Is(err, context.DeadlineExceeded)
			if late && endless[query] && sent > 0 {
				continue // the streamer's limit, which has a test of its own, would end it
			}
			if status != 200 && status != 400 || err != nil {
				t.Errorf("%s%s: status %d, %d bytes, %v", name, query, status, sent, err)
			}
		}
	}
	runtime.GC()
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapAlloc > 300<<20 {
		t.Errorf("%d MiB in use", m.HeapAlloc>>20)
	}
	eventually(t, "nothing goes on", func() bool { return n.metric(t, "hashstream_http_requests_in_flight") == 0 })
}

// drain reads an answer until it ends or ctx does.
func drain(ctx context.Context, url string) (status int, n int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	n, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, n, err
}

// TestMalformedArchives imports what no pack may be.
func TestMalformedArchives(t *testing.T) {
	n := start(t, nil)
	a := newArchive(t)
	good := a.put(cid.Raw, []byte("good"))
	head := len(car.AppendHeader(nil))
	over := newArchive(t)
	over.put(cid.Raw, make([]byte, block.MaxSize+1))
	for name, tc := range map[string]struct {
		car  []byte
		want error
	}{
		"a block over the limit":     {over.bytes, block.ErrTooLarge},
		"a length beyond the end":    {append(bytes.Clone(a.bytes), 0x7f), car.ErrTruncated},
		"a length of many exabytes":  {binary.AppendUvarint(bytes.Clone(a.bytes), 1<<62), car.ErrTruncated},
		"a varint of eleven bytes":   {append(bytes.Clone(a.bytes), bytes.Repeat([]byte{0xff}, 11)...), car.ErrMalformed},
		"cut inside of a block":      {a.bytes[:len(a.bytes)-1], car.ErrTruncated},
		"other bytes than the CID's": {append(bytes.Clone(a.bytes[:len(a.bytes)-1]), 'x'), digest.ErrMismatch},
		"no header":                  {a.bytes[head:], car.ErrMalformed},
		"a header of many megabytes": {append(binary.AppendUvarint(nil, 64<<20), make([]byte, 100)...), car.ErrMalformed},
		"nothing":                    {nil, car.ErrTruncated},
	} {
		if _, err := importCAR(t, n.config, tc.car); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if a := n.get(t, "/ipfs/"+good.String()+"?format=raw"); a.status != 404 {
		t.Errorf("a block of a refused archive: status %d", a.status)
	}
}
