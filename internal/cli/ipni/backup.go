package ipni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/inspect"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/ipni/backup"
)

func (a commands) backupCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the records of the provider index, and what belongs to them, into one file",
		Long: `Backup writes the records and metadata of this node's store, providers, and how far chains
are read. A node may run meanwhile. FILE - is standard output. The backup of a
store in compact mode holds multihashes in plain, as the store does.

The node's key (ipni.key) and the advertisements of its own chain (publish.store) are
files or objects of their own, which any tool can copy.`,
		Example: `  hashstream ipni backup index.ipni
  hashstream ipni backup - | zstd > index.ipni.zst`,
		Args:        cobra.ExactArgs(1),
		Annotations: app.Interruptible("nothing was written; run the command again"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.backup(cmd.Context(), args[0], force)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace FILE if it is there")
	return cmd
}

func (a commands) backup(ctx context.Context, path string, force bool) error {
	write := func(w io.Writer) error {
		return a.inspect(ctx, inspect.Request{Op: inspect.OpBackup}, []string{indexer.RoleStore}, w)
	}
	if path == app.Dash {
		return write(a.Out)
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return fmt.Errorf("backup %s: %w", path, os.ErrExist)
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".hashstream-backup-*")
	if err != nil {
		return app.Failed(err)
	}
	defer os.Remove(part.Name()) // nothing, once it has its name
	defer part.Close()
	bar := a.Progress("backup", false)
	defer bar.Stop()
	if err := write(io.MultiWriter(part, counting{bar})); err != nil {
		return err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return app.Failed(err)
	}
	_, totals, err := backup.Inspect(part)
	if err == nil {
		err = part.Sync()
	}
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return app.Failed(err)
	}
	bar.Stop()
	a.printTotals(totals, "in", path)
	return nil
}

func (a commands) printTotals(t backup.Totals, where, path string) {
	a.Notef("%s, metadata of %s, %s %s %s", app.Count(int64(t.Records), "record"), app.Count(int64(t.Metadata), "context"),
		app.Count(int64(t.Rows), "row"), where, path)
}

// counting shows what is written.
type counting struct{ bar *progress.Bar }

func (c counting) Write(b []byte) (int, error) {
	c.bar.Add(int64(len(b)))
	return len(b), nil
}

func (a commands) restoreCommand() *cobra.Command {
	var merge bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Read what 'ipni backup' wrote into the provider index of this home",
		Long: `Restore puts what FILE holds into the store and the state of this home, which may be of
another kind than those that it comes from. No node may run on them. FILE is checked before anything is
written.

The backup of a store in sealed mode can be restored only into one in sealed mode: what is
encrypted cannot be opened without the multihashes. That of one in compact mode can be
restored into either.`,
		Example: `  hashstream ipni restore index.ipni
  HASHSTREAM_IPNI_VALUES=postgres://host/db hashstream ipni restore index.ipni`,
		Args:        cobra.ExactArgs(1),
		Annotations: app.Interruptible("run the same command again with --merge for the rest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.restore(cmd.Context(), args[0], merge)
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "restore into an index that is not empty")
	return cmd
}

func (a commands) restore(ctx context.Context, path string, merge bool) error {
	c, err := a.Config(nil)
	if err != nil {
		return err
	}
	client, err := control.Dial(ctx, c.Home)
	if err == nil {
		client.Close()
		return app.Hint(errors.New("a node is running in this home"), "stop it, restore, and start it again")
	}
	if !errors.Is(err, control.ErrNoNode) {
		return app.Failed(err)
	}
	f, err := os.Open(path)
	if err != nil {
		return app.Missing(path, err)
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return app.Usagef("%s is a pipe; write it to a file first, for it is read more than once", path)
	}
	return a.withIndex(ctx, c, []string{indexer.RoleStore}, func(s *indexer.Service) error {
		totals, err := s.Inspection().Restore(ctx, f, merge)
		switch {
		case errors.Is(err, backup.ErrNotEmpty):
			return app.Hint(app.Failed(err), "add --merge to keep what it has, such as what a restore wrote that was interrupted")
		case errors.Is(err, digest.ErrMismatch):
			return fmt.Errorf("restore %s: %w", path, err)
		case err != nil:
			return app.Failed(err)
		}
		a.printTotals(totals, "from", path)
		return nil
	})
}
