package content

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
)

// whole reports whether each file is to be one blob: BLAKE3 needs no chunks.
func (f *adding) whole() bool { return f.hash == digest.BLAKE3.String() && f.chunk == "" }

const chunked = "name the files one by one, or add --chunk-size 1MiB for a DAG of chunks"

// checkWhole refuses flags that mean nothing for one blob.
func (f *adding) checkWhole() error {
	switch {
	case f.wrap, f.dedup, f.profile != "":
		return app.Hint(app.Usagef("a file is one block with --hash blake3; --wrap, --dedup and --profile are for DAGs of chunks"), "%s", chunked)
	case f.index == string(index.LevelNone):
		return app.Usagef("nobody would find a blob again; --hash blake3 takes no --index-writer none")
	}
	return nil
}

// addWhole adds every argument as one blob.
func (a commands) addWhole(ctx context.Context, f *adding, c config.Config, args []string) error {
	if err := f.checkWhole(); err != nil {
		return err
	}
	ins, err := inputs(args, f)
	if err != nil {
		return err
	}
	for _, in := range ins {
		if in.dir {
			return app.Hint(app.Usagef("%s is a directory, which has no form as one block", in.arg), "%s", chunked)
		}
	}
	h := bao.NewHasher(nil)
	if f.dryRun {
		return a.eachWhole(ctx, f, ins, func(r io.Reader) (single.Result, error) {
			d, size, err := h.Sum(ctx, r, nil)
			return single.Result{Digest: d, Size: size}, err
		})
	}
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		objects, ok := s.Packs.(interface {
			blob.Store
			blob.Drafter
		})
		if !ok {
			return app.Failed(fmt.Errorf("the pack store cannot be written: %w", fs.ErrPermission))
		}
		return a.eachWhole(ctx, f, ins, func(r io.Reader) (single.Result, error) { return single.Add(ctx, r, objects, s.KV, h) })
	})
}

func (a commands) eachWhole(ctx context.Context, f *adding, ins []input, add func(io.Reader) (single.Result, error)) error {
	for _, in := range ins {
		if err := a.oneWhole(ctx, f, in, add); err != nil {
			return fmt.Errorf("add %s: %w", in.arg, err)
		}
	}
	return nil
}

func (a commands) oneWhole(ctx context.Context, f *adding, in input, add func(io.Reader) (single.Result, error)) error {
	p := a.Progress("added", f.quiet)
	defer p.Stop()
	r, err := a.openWhole(ctx, in, p)
	if err != nil {
		return err
	}
	defer r.Close()
	res, err := add(app.Counted(app.Until(ctx, r), p))
	if err != nil {
		return err
	}
	p.Stop()
	return a.printWhole(f, in.arg, res)
}

// openWhole opens a file, and nothing that is none.
func (a commands) openWhole(ctx context.Context, in input, p *progress.Bar) (io.ReadCloser, error) {
	if in.path == "" {
		return io.NopCloser(a.Stdin(ctx)), nil
	}
	fi, err := os.Lstat(in.path)
	if err != nil {
		return nil, app.Reason(err)
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		return nil, app.Hint(app.Usagef("it is a symbolic link"), "add --dereference-args to follow it")
	case !fi.Mode().IsRegular():
		return nil, ingest.ErrIrregular
	}
	p.Expect(fi.Size())
	file, err := os.Open(in.path)
	if err != nil {
		return nil, app.Reason(err)
	}
	return file, nil
}

func (a commands) printWhole(f *adding, arg string, res single.Result) error {
	root := res.Digest.CID(cid.Raw)
	if f.json {
		return a.PrintJSON(describeAdded(arg, ingest.Result{Root: root, Size: res.Size, DAGSize: uint64(res.Size), Blocks: 1, Stored: res.Stored}))
	}
	if f.quiet {
		_, err := fmt.Fprintln(a.Out, root)
		return err
	}
	_, err := fmt.Fprintln(a.Out, root, arg)
	switch {
	case f.dryRun:
		a.Notef("%s in one block; nothing was stored", progress.Size(res.Size))
	case !res.Stored:
		a.Notef("%s was there already; nothing was stored", progress.Size(res.Size))
	default:
		a.Notef("%s in one block", progress.Size(res.Size))
	}
	return err
}
