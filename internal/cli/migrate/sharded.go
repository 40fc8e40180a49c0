package migrate

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/sharded"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

// maxSharded bounds the size of a sharded index in bytes: about five million blocks.
const maxSharded = 512 << 20

func (c commands) importSharded() *cobra.Command {
	r := run{App: c.App}
	var noRead bool
	cmd := &cobra.Command{
		Use:   "sharded FILE...",
		Short: "Take in sharded DAG indexes (index/sharded/dag@0.1)",
		Long: `Sharded records the DAG of each index FILE. Its shards are read from the node's pack store
and verified. With --no-read the index is believed until its blocks are served; only blocks
with links are read.`,
		Example: `  hashstream index import sharded upload.idx.car`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.with(cmd.Context(), func(_ config.Config, s *node.Stores, level index.Level) error {
				for _, name := range args {
					if err := r.importSharded(cmd.Context(), s, level, name, noRead); err != nil {
						return fmt.Errorf("import %s: %w", name, err)
					}
				}
				return nil
			})
		},
	}
	r.flags(cmd, writes)
	cmd.Flags().BoolVar(&noRead, "no-read", false, "do not read the shards but believe the index")
	return cmd
}

func (r *run) importSharded(ctx context.Context, s *node.Stores, level index.Level, name string, noRead bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSharded+1))
	if err == nil && len(b) > maxSharded {
		err = fmt.Errorf("more than %d bytes", maxSharded)
	}
	var x sharded.Index
	if err == nil {
		x, err = sharded.Decode(b)
	}
	if err != nil {
		return err
	}
	n, err := sharded.Import(ctx, x, home(s, level), &sharded.ImportOptions{SkipPacks: noRead, Problem: r.problem})
	if err == nil {
		err = r.root(x.Content, n.Incomplete)
	}
	if err != nil {
		return err
	}
	sum := summary{Records: 1, Packs: n.Packs, Blocks: n.Blocks, Problems: int64(r.told)}
	if n.Incomplete == nil {
		sum.Roots = 1
	} else {
		sum.Problems++
	}
	return r.done(sum)
}

func (c commands) exportSharded() *cobra.Command {
	r := run{App: c.App}
	var out string
	cmd := &cobra.Command{
		Use:     "sharded ROOT",
		Short:   "Write the sharded DAG index of a root (index/sharded/dag@0.1)",
		Example: `  hashstream index export sharded bafy… -o upload.idx.car`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := cid.Decode(args[0])
			if err != nil {
				return app.Usage(err)
			}
			return r.with(cmd.Context(), func(_ config.Config, s *node.Stores, _ index.Level) error {
				x, err := sharded.Export(cmd.Context(), s.Index, root)
				var b []byte
				if err == nil {
					b, err = sharded.Encode(x)
				}
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
