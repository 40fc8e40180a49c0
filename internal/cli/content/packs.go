package content

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/cli/app"
)

func (a commands) packWrite() *cobra.Command {
	var f adding
	var format string
	cmd := &cobra.Command{
		Use:   "write FILE...",
		Short: "Pack files and print the packs that hold them",
		Long: `Write does what 'hashstream add' does and prints, before the root, a line for
every pack: its CID and size.`,
		Example: `  hashstream pack write video.mp4 --pack-size 64MiB
  hashstream pack write video.mp4 --index-writer multiple-level`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: app.Interruptible(app.ResumeAdding),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "car" {
				return app.Usagef("--format %q: packs are CARs; want car", format)
			}
			return a.add(cmd.Context(), &f, args, func(o *ingest.Options) {
				o.Trace.Packed = func(_ int, d digest.Digest, n int64) {
					if !f.quiet && !f.json {
						fmt.Fprintf(a.Out, "pack %s %d\n", d, n)
					}
				}
			})
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "car", "format of the packs: car")
	return cmd
}

func (a commands) packImport() *cobra.Command {
	var f adding
	cmd := &cobra.Command{
		Use:   "import FILE.car...",
		Short: "Store existing CARs as packs, byte for byte, and index them",
		Long: `Import stores CARs of version 1 or 2 without changing a byte. Their blocks may
stand in any order and their DAGs need not be complete: every block is indexed, and
complete DAGs get a plan as well. It prints the pack and its roots. A block that is
not what its CID says is refused, and nothing is stored. - is standard input.`,
		Example: `  hashstream pack import snapshot.car
  curl -s https://example.com/site.car | hashstream pack import -`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: app.Interruptible(app.ResumeAdding),
		RunE:        func(cmd *cobra.Command, args []string) error { return a.importCARs(cmd.Context(), &f, args) },
	}
	cmd.Flags().StringVar(&f.index, "index-writer", "", "records to write: all, single-level, multiple-level or none (default: add.index of the configuration)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print a line of JSON for each CAR")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print the CID of the pack alone")
	return cmd
}

func (a commands) indexAdd() *cobra.Command {
	var f adding
	cmd := &cobra.Command{
		Use:   "add PACK FILE.car [CONTAINING]",
		Short: "Index a CAR whose bytes are already in a pack store",
		Long: `Add reads FILE.car, checks that it is the pack PACK and that its blocks are what
they say, and records where each block is. It stores no bytes. A complete DAG gets a
plan: that of CONTAINING, or of the roots that the CAR names.`,
		Example: `  hashstream index add bafk… backup.car
  hashstream index add bafk… backup.car bafy…`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addIndex(cmd.Context(), &f, args) },
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().StringVar(&f.index, "index-writer", "", "records to write: all, single-level, multiple-level or none (default: add.index of the configuration)")
	return cmd
}
