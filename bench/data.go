package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"
)

// linkWidth is the number of children of a node in the profile unixfs-v1-2025.
const linkWidth = 1024

// dataset is one file cut into leaves of one size, and the CAR of its whole DAG in
// depth-first order without duplicates: the bytes that every server has to send.
type dataset struct {
	leaf, size int64
	source     string // the file
	root       cid.Cid
	leaves     []cid.Cid // in the order of the file
	carRoot    string    // document root; the CAR is carRoot/ipfs/ROOT, the path of its URL
	carSize    int64
	carSum     string // sha2-256, hexadecimal
	home       string // hashstream's home; "" without a binary
}

func (d *dataset) car() string  { return filepath.Join(d.carRoot, "ipfs", d.root.String()) }
func (d *dataset) path() string { return "/ipfs/" + d.root.String() + "?format=car" }

// dataset prepares the data of one leaf size, once.
func (b *bench) dataset(ctx context.Context, leaf int64) (*dataset, error) {
	if d := b.datasets[leaf]; d != nil {
		return d, nil
	}
	size := b.scale.big
	if leaf < 64*kib {
		size = b.scale.small
	}
	b.logf("  preparing %d MiB with leaves of %d KiB", size/mib, leaf/kib)
	d := &dataset{leaf: leaf, size: size, carRoot: filepath.Join(b.work, fmt.Sprintf("car-%d", leaf))}
	var err error
	if d.source, err = b.source(ctx, size); err != nil {
		return nil, err
	}
	if err := d.writeCAR(ctx); err != nil {
		return nil, fmt.Errorf("write the CAR: %w", err)
	}
	if err := b.addToHashstream(ctx, d); err != nil {
		return nil, err
	}
	b.datasets[leaf] = d
	return d, nil
}

// source makes a file of pseudo-random bytes that depend on its size alone.
func (b *bench) source(ctx context.Context, size int64) (string, error) {
	path := filepath.Join(b.work, fmt.Sprintf("source-%d", size))
	if isFile(path) {
		return path, nil
	}
	return path, writeRandom(ctx, path, size)
}

func writeRandom(ctx context.Context, path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	seed := sha256.Sum256(fmt.Appendf(nil, "hashstream bench %d", size))
	w := bufio.NewWriterSize(f, 4*mib)
	if _, err := io.CopyN(w, readerWithContext{ctx, rand.NewChaCha8(seed)}, size); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// readerWithContext stops with its context.
type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// importFile builds the balanced DAG of the profile unixfs-v1-2025 (CIDv1, raw
// leaves, 1,024 links a node) with boxo, and hands its nodes to dag.
func importFile(r io.Reader, leaf int64, dag ipld.DAGService) (ipld.Node, error) {
	p := helpers.DagBuilderParams{Maxlinks: linkWidth, RawLeaves: true, CidBuilder: merkledag.V1CidPrefix(), Dagserv: dag}
	db, err := p.New(chunk.NewSizeSplitter(r, leaf))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(db)
}

// outline is a DAG service that keeps the interior nodes and, of the leaves, only
// where they stand in the file.
type outline struct {
	ipld.DAGService
	nodes  map[cid.Cid]ipld.Node
	places map[cid.Cid]int64
	leaves []cid.Cid
	offset int64
}

func (o *outline) Add(_ context.Context, n ipld.Node) error {
	c := n.Cid()
	if c.Prefix().Codec != cid.Raw {
		o.nodes[c] = n
		return nil
	}
	o.places[c] = o.offset
	o.leaves = append(o.leaves, c)
	o.offset += int64(len(n.RawData()))
	return nil
}

// writeCAR writes the CAR of d's source with go-car.
func (d *dataset) writeCAR(ctx context.Context) error {
	src, err := os.Open(d.source)
	if err != nil {
		return err
	}
	defer src.Close()
	o := &outline{nodes: map[cid.Cid]ipld.Node{}, places: map[cid.Cid]int64{}}
	root, err := importFile(readerWithContext{ctx, bufio.NewReaderSize(src, 4*mib)}, d.leaf, o)
	if err != nil {
		return err
	}
	o.nodes[root.Cid()] = root
	d.root, d.leaves = root.Cid(), o.leaves
	if err := os.MkdirAll(filepath.Dir(d.car()), 0o755); err != nil {
		return err
	}
	f, err := os.Create(d.car())
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(f, sum), mib)
	w, err := storage.NewWritable(buffered, []cid.Cid{d.root}, carv2.WriteAsCarV1(true))
	if err != nil {
		return err
	}
	if err := o.write(ctx, w, src, d.root, make([]byte, d.leaf)); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	d.carSize, d.carSum = fi.Size(), hex.EncodeToString(sum.Sum(nil))
	return f.Close()
}

// write puts the DAG below c into w, depth first.
func (o *outline) write(ctx context.Context, w storage.WritableCar, src io.ReaderAt, c cid.Cid, buf []byte) error {
	n, ok := o.nodes[c]
	if !ok {
		size, err := src.ReadAt(buf, o.places[c])
		if err != nil && err != io.EOF {
			return err
		}
		return w.Put(ctx, c.KeyString(), buf[:size])
	}
	if err := w.Put(ctx, c.KeyString(), n.RawData()); err != nil {
		return err
	}
	for _, l := range n.Links() {
		if err := o.write(ctx, w, src, l.Cid, buf); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// blockFiles writes the first n leaves as files DIR/ipfs/CID, for nginx, and
// returns DIR and the paths of their URLs.
func (b *bench) blockFiles(d *dataset, n int) (dir string, paths []string, err error) {
	dir = filepath.Join(b.work, fmt.Sprintf("blocks-%d", d.leaf))
	if err := os.MkdirAll(filepath.Join(dir, "ipfs"), 0o755); err != nil {
		return "", nil, err
	}
	src, err := os.Open(d.source)
	if err != nil {
		return "", nil, err
	}
	defer src.Close()
	buf := make([]byte, d.leaf)
	for i, c := range d.leaves[:min(n, len(d.leaves))] {
		if _, err := src.ReadAt(buf, int64(i)*d.leaf); err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "ipfs", c.String()), buf, 0o644); err != nil {
			return "", nil, err
		}
		paths = append(paths, "/ipfs/"+c.String()+"?format=raw")
	}
	return dir, paths, nil
}
