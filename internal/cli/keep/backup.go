package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/archive"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/outboard"
)

func (a commands) indexBackup() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything that the index knows into one file",
		Long: `Backup writes all keys of the index, as of one moment: records, plans, catalogs of
sources, trees of BLAKE3 blobs. A node may run meanwhile. FILE - is standard output. The
packs are files or objects of their own, which any tool can copy.`,
		Example: `  hashstream index backup index.keys
  hashstream index backup - | zstd > index.keys.zst`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.WithHome(cmd.Context(), func(s *node.Stores) error { return a.backup(cmd.Context(), s, args[0], force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace FILE if it is there")
	return cmd
}

func (a commands) backup(ctx context.Context, s *node.Stores, path string, force bool) error {
	if path == app.Dash {
		_, err := archive.Write(ctx, a.Out, s.KV)
		return app.Failed(err)
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return fmt.Errorf("backup %s: %w", path, os.ErrExist)
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".hashstream-backup-*")
	if err != nil {
		return app.Failed(err)
	}
	defer os.Remove(part.Name()) // nothing, once it has its name
	n, err := archive.Write(ctx, part, s.KV)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return app.Failed(err)
	}
	a.Notef("%s in %s", app.Count(n, "key"), path)
	return nil
}

func (a commands) indexRestore() *cobra.Command {
	var merge bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Read what 'index backup' wrote into the index of this home",
		Long: `Restore puts all keys of FILE into the index, which may be of another kind than the one
they come from: an embedded one can move into a database. FILE is checked before
anything is written. What the index has already is kept only with --merge.`,
		Example: `  hashstream index restore index.keys
  HASHSTREAM_STORE_INDEX=postgres://host/db hashstream index restore index.keys`,
		Args:        cobra.ExactArgs(1),
		Annotations: app.Interruptible("run the same command again with --merge for the rest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.WithHome(cmd.Context(), func(s *node.Stores) error { return a.restore(cmd.Context(), s, args[0], merge) })
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "restore into an index that is not empty")
	return cmd
}

func (a commands) restore(ctx context.Context, s *node.Stores, path string, merge bool) error {
	f, err := os.Open(path)
	if err != nil {
		return app.Missing(path, err)
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return app.Usagef("%s is a pipe; write it to a file first, for it is read twice", path)
	}
	empty, err := isEmpty(ctx, s.KV)
	if err != nil {
		return app.Failed(err)
	}
	if !empty && !merge {
		return app.Hint(app.Failed(errors.New("the index is not empty")), "add --merge to keep what it has, or empty it with 'hashstream index clear'")
	}
	n, err := archive.Restore(ctx, s.KV, f)
	switch {
	case errors.Is(err, digest.ErrMismatch):
		return fmt.Errorf("restore %s: %w", path, err)
	case err != nil:
		return app.Failed(err)
	}
	a.Notef("%s from %s", app.Count(n, "key"), path)
	return nil
}

func isEmpty(ctx context.Context, keys kv.Reader) (bool, error) {
	for _, err := range keys.Scan(ctx, kv.Range{From: []byte{0}}) {
		return false, err
	}
	return true, nil
}

// clearIndex removes everything that an index holds.
func clearIndex(ctx context.Context, s *node.Stores) error {
	return errors.Join(index.Clear(ctx, s.KV), origin.Clear(ctx, s.KV), outboard.Clear(ctx, s.KV))
}
