package ipni

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/shard"
)

func (a commands) membersCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the nodes that share the index of this one",
		Example: `  hashstream ipni members
  hashstream ipni members --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []shard.Member
			if err := a.do(cmd.Context(), indexer.Request{Together: shard.Request{Op: shard.OpMembers}}, &all); err != nil {
				return err
			}
			if asJSON {
				return a.PrintJSON(all)
			}
			return a.printMembers(all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) printMembers(all []shard.Member) error {
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATE\tROLES\tWEIGHT\tPARTITIONS\tIN SYNC\tPUBLISHERS\tURL")
	for _, m := range all {
		id := m.ID
		if m.Self {
			id += " (this one)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", id, memberState(m), names(m.Roles), m.Weight, m.Partitions, m.Ready, m.Publishers, m.URL)
	}
	return w.Flush()
}

// memberState says in a few words how a node does.
func memberState(m shard.Member) string {
	state := []string{"alive"}
	if !m.Alive {
		state[0] = "dead"
	}
	if m.Draining {
		state = append(state, "draining")
	}
	if m.Frozen {
		state = append(state, "frozen")
	}
	return strings.Join(state, ", ")
}

// names writes a list into a column.
func names(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}

func (a commands) leaveCommand() *cobra.Command {
	r := shard.Request{Op: shard.OpLeave}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "leave NODE",
		Short: "Forget a node that was drained, or that will not come back",
		Long: `Leave takes a node from those that share the index. One that is alive must be drained first, see
'ipni drain'. One that is dead can be forgotten if others have all that it had.

--force forgets a node whatever it has. Partitions of which it had the only copy in sync go on with
what is left of them, or empty: 'ipni verify --repair' puts back what is missing. A node that was forgotten and
is started again joins anew.`,
		Example: `  hashstream ipni leave node3`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Node = args[0]
			return a.leave(cmd.Context(), r, asJSON)
		},
	}
	cmd.Flags().BoolVar(&r.Force, "force", false, "even if it is alive, or records are lost")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) leave(ctx context.Context, r shard.Request, asJSON bool) error {
	var left shard.Left
	if err := a.do(ctx, indexer.Request{Together: r}, &left); err != nil {
		return err
	}
	if left.Lost > 0 {
		a.Notef("records of %s may be lost; 'hashstream ipni verify --repair' puts back what is missing", app.Count(int64(left.Lost), "partition"))
	}
	if asJSON {
		return a.PrintJSON(left)
	}
	_, err := fmt.Fprintf(a.Out, "%s is no member any more\n", r.Node)
	return err
}
