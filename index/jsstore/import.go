package jsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/unixfs"
)

// File is a raw file that records point into.
type File struct {
	Location index.Location
	Bytes    blob.Getter
	Key      string // of the file in Bytes
}

// ImportOptions tunes [Import].
type ImportOptions struct {
	// Files finds the file of a path location. Nil means that there are none.
	Files func(ctx context.Context, path string) (File, error)
	// SkipPacks leaves packs unread: blocks are recorded where the records say, and
	// no DAG is.
	SkipPacks bool
	// MaxBlocks bounds the blocks that are kept in mind, see [adopt.Options].
	MaxBlocks int
	// Root is told of each DAG; a reason means that it is not recorded as a whole. Optional.
	Root func(c cid.Cid, reason error)
	// Problem is told of whatever is left out. Optional.
	Problem func(error)
}

// Imported counts what [Import] did.
type Imported struct {
	Records  int64 // objects of the index
	Packs    int64 // adopted
	Blocks   int64 // recorded, one per location
	Roots    int64 // recorded as a whole
	Problems int64
}

var (
	// ErrNoLength reports a block that a record gives no length or no offset for.
	ErrNoLength = errors.New("the record has no offset or length")
	// ErrInline reports a block whose bytes stand in its record, which no pack of ours holds.
	ErrInline = errors.New("the bytes stand in the record itself")
)

// Import takes the index that r reads into home. Packs are streamed once and verified,
// parts of raw files read and verified; all of them stay where they are. DAGs whose blocks are all
// there get a plan. What is missing or wrong is told and left out; an error means that the
// stores or the index failed.
func Import(ctx context.Context, r *Reader, home adopt.Home, o *ImportOptions) (Imported, error) {
	im := &importer{r: r, home: home, self: map[digest.Digest]bool{}}
	if o != nil {
		im.o = *o
	}
	err := im.run(ctx)
	if err != nil {
		err = fmt.Errorf("jsstore: import: %w", err)
	}
	return im.n, err
}

type importer struct {
	r    *Reader
	home adopt.Home
	o    ImportOptions
	n    Imported

	groups groups
	paths  map[string]bool        // that a containing holds
	self   map[digest.Digest]bool // blocks that are objects of their own

	a      *adopt.Adopter
	packs  map[digest.Digest]bool // adopted by a
	path   string                 // looked up last
	file   File
	failed error // to look it up
}

func (im *importer) problem(err error) {
	im.n.Problems++
	if im.o.Problem != nil {
		im.o.Problem(err)
	}
}

func (im *importer) run(ctx context.Context) error {
	im.groups, im.paths = newGroups(), map[string]bool{}
	for o, err := range im.r.Objects(ctx) {
		if errors.Is(err, ErrMalformed) {
			im.problem(err)
			continue
		}
		if err != nil {
			return err
		}
		im.n.Records++
		im.survey(o.Record)
	}
	for _, g := range im.groups.list() {
		if err := im.group(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// survey notes which packs and roots belong together.
func (im *importer) survey(top Record) {
	if top.Type == index.Containing {
		im.groups.root(top.Digest)
	}
	for rec := range blobs(top) {
		switch {
		case rec.Type == index.InlineBlob:
		case rec.Path != "":
			if top.Type == index.Containing {
				im.paths[rec.Path] = true
			}
		case rec.Type == index.Blob && rec.Location == rec.Digest:
			im.self[rec.Digest] = true
		case top.Type == index.Containing:
			im.groups.join(top.Digest, rec.Location)
		default:
			im.groups.pack(rec.Location)
		}
	}
}

// blobs yields the records below top that say where bytes are: of blocks, and of packs
// without blocks.
func blobs(top Record) func(yield func(Record) bool) {
	return func(yield func(Record) bool) { eachBlob(top, yield) }
}

func eachBlob(r Record, yield func(Record) bool) bool {
	if r.Type == index.Blob || r.Type == index.InlineBlob || r.Type == index.Pack && len(r.Sub) == 0 {
		if !yield(r) {
			return false
		}
	}
	for _, sub := range r.Sub {
		if !eachBlob(sub, yield) {
			return false
		}
	}
	return true
}

// group imports packs and roots that belong together.
func (im *importer) group(ctx context.Context, g group) error {
	im.a = adopt.New(im.home, &adopt.Options{MaxBlocks: im.o.MaxBlocks})
	im.packs = map[digest.Digest]bool{}
	for _, d := range g.roots {
		im.a.Want(d)
	}
	for _, d := range g.packs {
		if err := im.pack(ctx, d); err != nil {
			return err
		}
	}
	var roots []cid.Cid
	if g.rest {
		for o, err := range im.r.Objects(ctx) {
			if err != nil && !errors.Is(err, ErrMalformed) { // that was told before
				return err
			}
			if err == nil && o.Type != index.Containing {
				roots = append(roots, im.places(ctx, o.Record, true)...)
			}
		}
	}
	for _, d := range g.roots {
		found, err := im.containing(ctx, d)
		if err != nil {
			return err
		}
		roots = append(roots, found...)
	}
	if err := im.a.Flush(ctx); err != nil || im.o.SkipPacks {
		return err
	}
	if g.rest && len(g.packs) > 0 {
		more, err := im.a.Roots(ctx)
		if err != nil {
			return err
		}
		roots = append(roots, more...)
	}
	return im.plan(ctx, roots)
}

// pack adopts one pack.
func (im *importer) pack(ctx context.Context, d digest.Digest) error {
	if im.o.SkipPacks || im.self[d] {
		return nil // an object that is one block is a place
	}
	p, err := im.a.Pack(ctx, d)
	if errors.Is(err, adopt.ErrPack) {
		im.problem(err)
		return nil
	}
	if err != nil {
		return err
	}
	im.n.Packs++
	im.n.Blocks += p.Blocks
	im.packs[d] = true
	for _, f := range p.Bad {
		im.problem(errors.New(f.String()))
	}
	return nil
}

// containing takes in what the records of a root add to the packs, and returns the CIDs of the
// root.
func (im *importer) containing(ctx context.Context, d digest.Digest) ([]cid.Cid, error) {
	var roots []cid.Cid
	for rec, err := range im.r.Find(ctx, d) {
		if errors.Is(err, ErrMalformed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if rec.Type == index.Containing {
			roots = append(roots, im.places(ctx, rec, false)...)
		}
	}
	if known := im.a.CIDs(d); len(known) > 0 || im.o.SkipPacks {
		return known, nil
	}
	for _, c := range roots {
		if string(c.Hash()) == string(d.Bytes()) {
			return []cid.Cid{c}, nil
		}
	}
	im.root(d.CID(cid.Raw), fmt.Errorf("%w: the root is one", adopt.ErrIncomplete))
	return nil, nil
}

// places takes in the blocks below top that no adopted pack tells of, and returns the CIDs of
// those that are objects of their own.
func (im *importer) places(ctx context.Context, top Record, rest bool) (self []cid.Cid) {
	for rec := range blobs(top) {
		var c cid.Cid
		var err error
		switch {
		case ctx.Err() != nil:
			return self
		case rec.Type == index.Pack:
		case rec.Type == index.InlineBlob:
			err = ErrInline
		case rest && (im.paths[rec.Path] || im.groups.isRoot(rec.Digest) && rec.Location == rec.Digest):
			// its containing brings it
		case rec.Offset < 0 || rec.Length < 0:
			err = ErrNoLength
		case rec.Path != "":
			err = im.part(ctx, rec)
		case rec.Location == rec.Digest:
			if c, err = im.object(ctx, rec); err == nil {
				self = append(self, c)
			}
		case !im.packs[rec.Location] || !im.a.Knows(rec.Digest):
			im.a.Record(ctx, rec.Digest, index.Location{Pack: rec.Location}, rec.Offset, rec.Length)
			im.n.Blocks++
		}
		if err != nil {
			im.problem(fmt.Errorf("jsstore: block %s: %w", rec.Digest, err))
		}
	}
	return self
}

// part takes in a block that is a part of a raw file.
func (im *importer) part(ctx context.Context, rec Record) error {
	if im.o.Files == nil {
		return fmt.Errorf("it is in the file %q, and no files are given", rec.Path)
	}
	if im.path != rec.Path {
		im.file, im.failed = im.o.Files(ctx, rec.Path)
		im.path = rec.Path
	}
	if im.failed != nil {
		return im.failed
	}
	if rec.Length > block.MaxSize {
		return fmt.Errorf("%w: %d bytes", block.ErrTooLarge, rec.Length)
	}
	data, err := blob.Read(ctx, im.file.Bytes, im.file.Key, rec.Offset, rec.Length)
	if err == nil {
		err = rec.Digest.Verify(data)
	}
	if err != nil {
		return fmt.Errorf("%q at %d+%d: %w", rec.Path, rec.Offset, rec.Length, err)
	}
	im.n.Blocks++
	return im.a.Place(ctx, rec.Digest.CID(cid.Raw), im.file.Location, rec.Offset, rec.Length)
}

// object takes in a block that is an object of its own, as hash-stream keeps the root
// of a file in place. Its records do not tell whether it is dag-pb or raw: it
// is dag-pb if it reads as a node of UnixFS with links.
func (im *importer) object(ctx context.Context, rec Record) (cid.Cid, error) {
	c := rec.Digest.CID(cid.Raw)
	loc := index.Location{Pack: rec.Digest}
	if im.o.SkipPacks || rec.Length > block.MaxSize {
		im.n.Blocks++
		im.a.Record(ctx, rec.Digest, loc, rec.Offset, rec.Length)
		return c, nil
	}
	data, err := blob.Read(ctx, im.home.Packs, pack.Key(rec.Digest), rec.Offset, rec.Length)
	if err == nil {
		err = rec.Digest.Verify(data)
	}
	if err != nil {
		return c, fmt.Errorf("its object: %w", err)
	}
	asNode := rec.Digest.CID(cid.DagProtobuf)
	if node, err := unixfs.Decode(block.Block{CID: asNode, Data: data}); err == nil && len(node.Links) > 0 {
		c = asNode
	}
	im.n.Blocks++
	return c, im.a.Place(ctx, c, loc, rec.Offset, rec.Length)
}

func (im *importer) plan(ctx context.Context, roots []cid.Cid) error {
	seen := map[cid.Cid]bool{}
	for _, c := range roots {
		if seen[c] {
			continue
		}
		seen[c] = true
		err := im.a.DAG(ctx, c)
		if err != nil && !errors.Is(err, adopt.ErrIncomplete) && !errors.Is(err, adopt.ErrUnplanned) {
			return err
		}
		im.root(c, err)
	}
	return nil
}

func (im *importer) root(c cid.Cid, reason error) {
	if reason == nil {
		im.n.Roots++
	} else {
		im.n.Problems++
	}
	if im.o.Root != nil {
		im.o.Root(c, reason)
	}
}
