package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

func (c commands) importCAR() *cobra.Command {
	r := run{App: c.App}
	var read bool
	cmd := &cobra.Command{
		Use:   "car FILE|DIR|URL...",
		Short: "Take in CARs where they are, by the index beside or inside of them",
		Long: `Car records the blocks of CARs that stay where they are, below a root of [sources]. Where an
index lies beside FILE.car, as FILE.car.idx or FILE.idx, or inside of a CARv2, nothing
but heads of blocks and nodes with links is read; what the index says is verified when it is
served. Without an index, or with --read, the CAR is read and verified.

The DAGs that the headers name are printed if they are whole. Those of several CARs are
looked for in all that are named together.`,
		Example: `  hashstream index import car /srv/cars
  hashstream index import car 's3://bucket/backup.car'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return r.importCARs(cmd.Context(), args, read) },
	}
	r.flags(cmd, writes)
	cmd.Flags().BoolVar(&read, "read", false, "read and verify every CAR, even if it has an index")
	return cmd
}

func (r *run) importCARs(ctx context.Context, args []string, read bool) error {
	names, err := cars(args)
	if err != nil {
		return err
	}
	return r.with(ctx, func(_ config.Config, s *node.Stores, level index.Level) error {
		a, n := adopt.New(home(s, level), nil), summary{}
		for _, name := range names {
			p, err := takeCAR(ctx, s, a, name, read)
			if errors.Is(err, backends.ErrNoRoot) {
				return app.Hint(fmt.Errorf("%s: %w", name, backends.ErrNoRoot), "name the directory or URL it is in under sources.roots of the configuration")
			}
			if err != nil && !errors.Is(err, adopt.ErrPack) {
				return err
			}
			if err != nil {
				n.Problems++
				r.problem(err)
				continue
			}
			n.Records++
			n.Packs++
			n.Blocks += p.Blocks
			for _, f := range p.Bad {
				n.Problems++
				r.problem(fmt.Errorf("%s: %s", name, f))
			}
		}
		if err := r.plan(ctx, a, &n); err != nil {
			return err
		}
		return r.done(n)
	})
}

// plan records the DAGs of what was taken in.
func (r *run) plan(ctx context.Context, a *adopt.Adopter, n *summary) error {
	if err := a.Flush(ctx); err != nil {
		return err
	}
	roots, err := a.Roots(ctx)
	if err != nil {
		return err
	}
	for _, c := range roots {
		err := a.DAG(ctx, c)
		switch {
		case errors.Is(err, adopt.ErrIncomplete), errors.Is(err, adopt.ErrUnplanned):
			n.Problems++
		case err != nil:
			return err
		default:
			n.Roots++
		}
		if err := r.root(c, err); err != nil {
			return err
		}
	}
	return nil
}

// cars returns the canonical names of the CARs that are named or are in a directory.
func cars(args []string) (names []string, err error) {
	for _, arg := range args {
		name, err := backends.SourceName(arg)
		if err != nil {
			return nil, err
		}
		if strings.Contains(name, "://") {
			names = append(names, name)
			continue
		}
		err = filepath.WalkDir(name, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && (path == name || strings.HasSuffix(path, ".car")) {
				names = append(names, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// takeCAR takes in one CAR.
func takeCAR(ctx context.Context, s *node.Stores, a *adopt.Adopter, name string, read bool) (adopt.Packed, error) {
	info, err := s.Sources.Stat(ctx, name)
	if err != nil {
		return adopt.Packed{}, err
	}
	loc := index.Location{Path: name, Version: info.Identity}
	if read {
		return a.CAR(ctx, loc)
	}
	for _, beside := range []string{name + ".idx", strings.TrimSuffix(name, ".car") + ".idx"} {
		x, err := s.Sources.Stat(ctx, beside)
		if errors.Is(err, fs.ErrNotExist) || beside == name {
			continue
		}
		if err != nil {
			return adopt.Packed{}, err
		}
		r := &reader{ctx: ctx, files: s.Sources, name: beside, identity: x.Identity}
		return a.Indexed(ctx, loc, car.ReadSidecar(r, x.Size, info.Size))
	}
	inside := car.ReadIndex(&reader{ctx: ctx, files: s.Sources, name: name, identity: info.Identity}, info.Size)
	if !begins(inside) {
		return a.CAR(ctx, loc)
	}
	return a.Indexed(ctx, loc, inside)
}

// begins reports whether there is an index to be read.
func begins(entries iter.Seq2[car.IndexEntry, error]) bool {
	for _, err := range entries {
		return err == nil
	}
	return false
}

// reader reads a file from place to place, a mebibyte at once.
type reader struct {
	ctx            context.Context // of the command
	files          blob.Conditional
	name, identity string
	off            int64 // of buf
	buf            []byte
}

func (r *reader) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		at := off + int64(n)
		if at < r.off || at >= r.off+int64(len(r.buf)) {
			if err := r.fill(at); err != nil {
				return n, err
			}
		}
		n += copy(b[n:], r.buf[at-r.off:])
	}
	return n, nil
}

func (r *reader) fill(off int64) error {
	obj, err := r.files.GetIf(r.ctx, r.name, r.identity, off, 1<<20)
	if errors.Is(err, blob.ErrRange) {
		return io.EOF
	}
	if err != nil {
		return err
	}
	defer obj.Close()
	if r.buf, err = io.ReadAll(obj); err == nil && len(r.buf) == 0 {
		err = io.EOF
	}
	r.off = off
	return err
}

func (c commands) exportCAR() *cobra.Command {
	r := run{App: c.App}
	var out string
	cmd := &cobra.Command{
		Use:   "car PACK",
		Short: "Write the index that lies beside a CAR (MultihashIndexSorted)",
		Long: `Car writes an index over the pack PACK in the format of CARv2, which go-car, lassie and
others read as a file beside the CAR.`,
		Example: `  hashstream index export car bafk… -o backup.car.idx`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := digest.Parse(args[0])
			if err != nil {
				return app.Usage(err)
			}
			return r.with(cmd.Context(), func(_ config.Config, s *node.Stores, _ index.Level) error {
				b, err := adopt.Sidecar(cmd.Context(), s.Packs, index.Location{Pack: d})
				if err != nil {
					return err
				}
				return r.output(out, b)
			})
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "file to write")
	return cmd
}
