package content

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/pack"
)

// imported is what pack import and index add print with --json.
type imported struct {
	Pack       string         `json:"pack"`
	Path       string         `json:"path"`
	Size       int64          `json:"size,omitempty"` // of the pack in bytes
	Blocks     int64          `json:"blocks"`
	Unverified int64          `json:"unverified,omitempty"` // blocks of unknown hash functions
	Roots      []importedRoot `json:"roots"`
}

type importedRoot struct {
	CID      string `json:"cid"`
	Complete bool   `json:"complete"`
	Reason   string `json:"reason,omitempty"`
}

func (a commands) importCARs(ctx context.Context, f *adding, args []string) error {
	c, err := a.Config(f.overrides())
	if err != nil {
		return err
	}
	level, err := index.ParseLevel(c.Add.Index)
	if err != nil {
		return app.Usage(err)
	}
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		for _, arg := range args {
			if err := a.importCAR(ctx, s, level, f, arg); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a commands) importCAR(ctx context.Context, s *node.Stores, level index.Level, f *adding, arg string) error {
	in, err := a.Open(ctx, arg)
	if err != nil {
		return fmt.Errorf("import %s: %w", arg, err)
	}
	defer in.Close()
	dst, err := s.Destination(level)
	if err != nil {
		return app.Failed(err)
	}
	p := a.Progress("imported", f.quiet)
	defer p.Stop()
	packed, indexed, err := ingest.ImportCAR(ctx, app.Counted(in, p), dst.Packs, s.Shelf(s.Packs, level))
	p.Stop()
	if err != nil {
		return fmt.Errorf("import %s: %w", arg, err)
	}
	return a.printImported(f, level, imported{Pack: packed.Digest.String(), Path: arg, Size: packed.Size, Blocks: indexed.Blocks, Unverified: packed.Unverified}, indexed)
}

func (a commands) printImported(f *adding, level index.Level, out imported, indexed ingest.Indexed) error {
	out.Roots = []importedRoot{} // in JSON an empty list, not null
	for _, r := range indexed.Roots {
		root := importedRoot{CID: r.CID.String(), Complete: r.Complete}
		if r.Reason != nil {
			root.Reason = r.Reason.Error()
		}
		out.Roots = append(out.Roots, root)
	}
	switch {
	case f.json:
		return a.PrintJSON(out)
	case f.quiet:
		_, err := fmt.Fprintln(a.Out, out.Pack)
		return err
	}
	_, err := fmt.Fprintf(a.Out, "pack %s %s\n", out.Pack, out.Path)
	for _, r := range out.Roots {
		if err == nil {
			_, err = fmt.Fprintln(a.Out, "root", r.CID)
		}
		if !r.Complete {
			a.Notef("%s: %s; %s", r.CID, r.Reason, consequence(level))
		}
	}
	a.Notef("%s", app.Count(out.Blocks, "block"))
	return err
}

// consequence says what is left of a DAG that is not recorded as a whole.
func consequence(level index.Level) string {
	switch level {
	case index.LevelMultiple:
		return "nothing of it can be found: import it with --index-writer all"
	case index.LevelNone:
		return "nothing of it is indexed"
	}
	return "its blocks are indexed"
}

func (a commands) addIndex(ctx context.Context, f *adding, args []string) error {
	c, err := a.Config(f.overrides())
	if err != nil {
		return err
	}
	level, err := index.ParseLevel(c.Add.Index)
	if err != nil {
		return app.Usage(err)
	}
	ds, err := app.ParseDigests(args[:1])
	if err != nil {
		return err
	}
	var roots []cid.Cid
	for _, arg := range args[2:] {
		root, err := cid.Decode(arg)
		if err != nil {
			return app.Usagef("%q is not a CID: %v", arg, err)
		}
		roots = append(roots, root)
	}
	file, err := os.Open(args[1])
	if err != nil {
		return app.Missing(args[1], err)
	}
	defer file.Close()
	one := oneFile{file, pack.Key(ds[0])}
	for fault, err := range pack.Verify(ctx, one, ds[0]) {
		if err == nil {
			err = app.Hint(fmt.Errorf("%s: %s: %w", args[1], fault, fault.Err), "the file is not the pack that the first argument names, or it is damaged")
		}
		return err
	}
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		indexed, err := ingest.IndexPack(ctx, ds[0], s.Shelf(one, level), roots...)
		if err != nil {
			return err
		}
		return a.printImported(f, level, imported{Pack: ds[0].String(), Path: args[1], Blocks: indexed.Blocks}, indexed)
	})
}

// oneFile is a store of one object, a file.
type oneFile struct {
	file *os.File
	key  string
}

type fileRange struct {
	*io.SectionReader
	info blob.Info
}

func (r fileRange) Close() error    { return nil }
func (r fileRange) Info() blob.Info { return r.info }

func (o oneFile) Get(_ context.Context, key string, off, n int64) (blob.Object, error) {
	info, err := o.file.Stat()
	if err == nil && key != o.key {
		err = &fs.PathError{Op: "get", Path: key, Err: fs.ErrNotExist}
	}
	if err == nil && off > info.Size() {
		err = blob.ErrRange
	}
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = info.Size() - off
	}
	return fileRange{io.NewSectionReader(o.file, off, n), blob.Info{Key: key, Size: info.Size(), ModTime: info.ModTime()}}, nil
}
