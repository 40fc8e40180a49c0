package ipni

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/shard"
)

// Times of a command that waits.
const (
	askEvery  = time.Second
	tellEvery = 10 * time.Second
)

// draining is the options of drain.
type draining struct {
	undo, wait, leave, asJSON bool
}

func (a commands) drainCommand() *cobra.Command {
	var d draining
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Hand over the records and publishers of this node to the others, so that it can be stopped",
		Long: `Drain makes the other nodes take over the partitions of this one, and the publishers that it
follows. It answers lookups meanwhile. The command can be run again to see how far that is; the
node goes on after a restart, until all is handed over or --undo.

Copies are dropped a minute after others are in sync, in case somebody still reads them.`,
		Example: `  hashstream ipni drain
  hashstream ipni drain --wait
  hashstream ipni drain --leave        wait, and then be no member any more
  hashstream ipni drain --undo`,
		Args:        cobra.NoArgs,
		Annotations: app.Interruptible("the node goes on to drain; 'hashstream ipni drain --undo' ends that"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.undo && (d.wait || d.leave) {
				return app.Usagef("--undo goes neither with --wait nor with --leave")
			}
			return a.drain(cmd.Context(), d)
		},
	}
	cmd.Flags().BoolVar(&d.undo, "undo", false, "take partitions and publishers again")
	cmd.Flags().BoolVar(&d.wait, "wait", false, "return when nothing is left here")
	cmd.Flags().BoolVar(&d.leave, "leave", false, "wait, and then leave the other nodes")
	cmd.Flags().BoolVar(&d.asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) drain(ctx context.Context, d draining) error {
	state, err := a.drained(ctx, d)
	if err == nil && d.leave {
		err = a.do(ctx, indexer.Request{Together: shard.Request{Op: shard.OpLeave, Node: state.Node}}, nil)
	}
	if err != nil {
		return err
	}
	if d.asJSON {
		return a.PrintJSON(state)
	}
	switch {
	case d.undo:
		_, err = fmt.Fprintf(a.Out, "%s takes partitions and publishers again\n", state.Node)
	case d.leave:
		_, err = fmt.Fprintf(a.Out, "%s has left; stop it, for it joins again when it is started\n", state.Node)
	case state.Done:
		_, err = fmt.Fprintf(a.Out, "nothing is left here; run 'hashstream ipni leave %s' and stop the node\n", state.Node)
	default:
		_, err = fmt.Fprintf(a.Out, "%s; 'hashstream ipni drain --wait' tells when none are\n", still(state))
	}
	return err
}

// still says what is left.
func still(d shard.Draining) string {
	text := fmt.Sprintf("%s and %s are still here", app.Count(int64(d.Partitions), "partition"), app.Count(int64(d.Publishers), "publisher"))
	if d.Waits != "" {
		text += ": " + d.Waits
	}
	return text
}

// drained asks the node to drain, and waits until it has if it is to.
func (a commands) drained(ctx context.Context, d draining) (state shard.Draining, err error) {
	told := time.Time{}
	for {
		was := state
		if err := a.do(ctx, indexer.Request{Together: shard.Request{Op: shard.OpDrain, Undo: d.undo}}, &state); err != nil {
			return state, err
		}
		if state.Done || !d.wait && !d.leave {
			return state, nil
		}
		if state != was && time.Since(told) >= tellEvery {
			told = time.Now()
			a.Notef("%s", still(state))
		}
		select {
		case <-ctx.Done():
			return state, context.Cause(ctx)
		case <-time.After(askEvery):
		}
	}
}
