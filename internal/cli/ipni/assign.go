package ipni

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/shard"
)

func (a commands) assignCommand() *cobra.Command {
	var not, free, asJSON bool
	cmd := &cobra.Command{
		Use:   "assign [PUBLISHER NODE]",
		Short: "Tell which node follows which publisher, or decide it",
		Long: `Assign alone lists publishers and the nodes that follow them. Nodes share the publishers evenly; a
publisher can be pinned to a node, which then follows it whatever else it does, or a node can be barred
from it. It changes hands within some seconds. 'ipni members' lists the nodes.`,
		Example: `  hashstream ipni assign
  hashstream ipni assign 12D3KooW… node2          node2 follows it
  hashstream ipni assign --not 12D3KooW… node2    any other does
  hashstream ipni assign --free 12D3KooW… node2   take back either`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case not && free:
				return app.Usagef("--not and --free do not go together")
			case len(args) == 0 && !not && !free || len(args) == 2:
				return nil
			}
			return app.Usagef("either nothing, or a publisher and a node")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := shard.Request{Op: shard.OpAssign}
			if len(args) == 2 {
				r.Peer, r.Node, r.How = args[0], args[1], shard.Pin
				if _, err := peer.Decode(r.Peer); err != nil {
					return app.Usage(fmt.Errorf("%q is not a peer id such as 12D3KooW…: %w", r.Peer, err))
				}
			}
			switch {
			case not:
				r.How = shard.Bar
			case free:
				r.How = shard.Free
			}
			return a.assign(cmd.Context(), r, asJSON)
		},
	}
	cmd.Flags().BoolVar(&not, "not", false, "keep the node from following the publisher")
	cmd.Flags().BoolVar(&free, "free", false, "neither pin nor bar the node")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) assign(ctx context.Context, r shard.Request, asJSON bool) error {
	var all []shard.Publisher
	if err := a.do(ctx, indexer.Request{Together: r}, &all); err != nil {
		return err
	}
	if r.How == shard.Pin && len(all) == 1 && len(all[0].Pinned) > 1 {
		others := slices.DeleteFunc(slices.Clone(all[0].Pinned), func(id string) bool { return id == r.Node })
		a.Notef("it is pinned to %s as well; 'hashstream ipni assign --free' takes that back", names(others))
	}
	if asJSON {
		return a.PrintJSON(all)
	}
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PUBLISHER\tFOLLOWED BY\tPINNED\tBARRED\tPREFERRED")
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.ID, names(p.Followers), names(p.Pinned), names(p.Barred), names(p.Preferred))
	}
	return w.Flush()
}
