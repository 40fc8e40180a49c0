package keep

import (
	"context"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/node"
)

// record is what index find prints with --json.
type record struct {
	Digest   string   `json:"digest"`
	Type     string   `json:"type"`
	Location string   `json:"location,omitempty"`
	Offset   int64    `json:"offset"`
	Length   int64    `json:"length"`
	Sub      []record `json:"sub_records,omitempty"`
}

func newRecord(r index.Record) record {
	out := record{Digest: r.Digest.String(), Type: r.Type.String(), Offset: r.Offset, Length: r.Length}
	if r.Location != (index.Location{}) {
		out.Location = r.Location.String()
	}
	return out
}

func (r record) String() string {
	if r.Location == "" {
		return fmt.Sprintf("%s %s %d", r.Type, r.Digest, r.Length)
	}
	return fmt.Sprintf("%s %s at %s %d+%d", r.Type, r.Digest, r.Location, r.Offset, r.Length)
}

func (a commands) indexFind() *cobra.Command {
	var asJSON, blocks bool
	cmd := &cobra.Command{
		Use:     "find CID [CONTAINING]",
		Aliases: []string{"find-records"},
		Short:   "Print the records of a CID",
		Long: `Find prints where the bytes of CID are: as a block in packs, as a root with its
plan, or as a pack. CONTAINING names a root to search if the index holds no record
of the block itself. With --blocks the blocks of a root follow.`,
		Example: `  hashstream index find bafk…
  hashstream index find bafk… bafy…
  hashstream index find bafy… --blocks --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ds, err := app.ParseDigests(args)
			if err != nil {
				return err
			}
			return a.WithHome(cmd.Context(), func(s *node.Stores) error {
				return a.find(cmd.Context(), s, append(ds, digest.Digest{}), asJSON, blocks)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each record")
	cmd.Flags().BoolVar(&blocks, "blocks", false, "print the blocks of a root too")
	return cmd
}

func (a commands) find(ctx context.Context, s *node.Stores, ds []digest.Digest, asJSON, blocks bool) error {
	n, err := a.printRecords(s.Index.Find(ctx, ds[0], ds[1]), asJSON)
	if err != nil {
		return err
	}
	if n == 0 {
		return app.Absentf("%s is not in the index", ds[0])
	}
	if !blocks {
		return nil
	}
	for p, err := range s.Index.Plans(ctx, ds[0]) {
		if err != nil {
			return err
		}
		if _, err := a.printRecords(p.Records(ctx), asJSON); err != nil {
			return err
		}
	}
	return nil
}

func (a commands) printRecords(records iter.Seq2[index.Record, error], asJSON bool) (n int, err error) {
	for r, err := range records {
		if err == nil && asJSON {
			err = a.PrintJSON(newRecord(r))
		} else if err == nil {
			_, err = fmt.Fprintln(a.Out, newRecord(r))
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (a commands) indexStats() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count the records of the index",
		Example: `  hashstream index stats
  hashstream index stats --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.WithHome(cmd.Context(), func(s *node.Stores) error {
				st, err := s.Index.Stats(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.PrintJSON(st)
				}
				_, err = fmt.Fprintf(a.Out, "blocks       %d\nroots        %d\nplans        %d\nsegments     %d\nlocations    %d\nquarantined  %d\n",
					st.Blocks, st.Containings, st.Plans, st.Segments, st.Locations, st.Quarantined)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) indexClear() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clear",
		Short: "Remove every record of the index; packs stay",
		Long: `Clear deletes the index of this home. The packs stay, and 'hashstream pack import'
or 'hashstream index add' of the same CARs makes their records anew. It asks first;
where nobody can answer, --yes is needed.`,
		Example: `  hashstream index clear --yes`,
	}
	return a.clearing(cmd, "the whole index of this home", clearIndex)
}
