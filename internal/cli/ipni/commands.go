// Package ipni is the commands that look after the provider index of this home, and after the
// chains that its node follows.
package ipni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
)

// commands are the commands of this package.
type commands struct{ *app.App }

// Group is the command ipni.
func Group(a *app.App) *cobra.Command {
	c := commands{a}
	return app.Group("ipni", "Look after the provider index: publishers, providers, what this node advertises",
		c.statusCommand(), c.syncCommand(), c.listCommand(indexer.OpAllow), c.listCommand(indexer.OpBlock), c.listCommand(indexer.OpUnlist),
		c.removeCommand(), c.importCommand(), c.freezeCommand(), c.advertiseCommand(),
		c.membersCommand(), c.assignCommand(), c.drainCommand(), c.leaveCommand(), c.foundCommand(),
		c.verifyCommand(), c.backupCommand(), c.restoreCommand(), c.coverageCommand())
}

// do asks the node of this home for something and decodes what it answers into v, which may be nil.
func (a commands) do(ctx context.Context, r indexer.Request, v any) error {
	args, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return a.WithRunning(ctx, func(c *control.Client) error {
		var out bytes.Buffer
		if err := noRole(c.Do(ctx, node.CommandIndexer, args, &out)); err != nil || v == nil {
			return err
		}
		return json.Unmarshal(out.Bytes(), v)
	})
}

func (a commands) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [PEER|CID]",
		Short: "Tell how far the chains of publishers are read, or what became of an advertisement",
		Example: `  hashstream ipni status
  hashstream ipni status 12D3KooW…        one publisher
  hashstream ipni status baguqeera…       one advertisement
  hashstream ipni status --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if c, err := cid.Decode(args[0]); err == nil && c.Prefix().Codec != cid.Libp2pKey {
					return a.adStatus(cmd.Context(), c, asJSON)
				}
				if _, err := peer.Decode(args[0]); err != nil {
					return app.Usage(fmt.Errorf("%q is neither a peer id nor a CID", args[0]))
				}
			}
			return a.status(cmd.Context(), args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) adStatus(ctx context.Context, c cid.Cid, asJSON bool) error {
	var st ingesthttp.AdStatus
	if err := a.do(ctx, indexer.Request{Op: indexer.OpAd, Ad: c.String()}, &st); err != nil {
		return err
	}
	if asJSON {
		return a.PrintJSON(st)
	}
	line := string(st.State)
	if st.Reason != "" {
		line += ": " + st.Reason
	}
	_, err := fmt.Fprintln(a.Out, line)
	return err
}

// status prints all publishers, or that which args name.
func (a commands) status(ctx context.Context, args []string, asJSON bool) error {
	r := indexer.Request{Op: indexer.OpStatus}
	if len(args) == 1 {
		r.Peer = args[0]
	}
	var report indexer.Report
	if err := a.do(ctx, r, &report); err != nil {
		return err
	}
	if asJSON {
		return a.PrintJSON(report)
	}
	return a.printReport(&report)
}

func (a commands) printReport(r *indexer.Report) error {
	fmt.Fprintf(a.Out, "peer     %s\nroles    %v\nrecords  %d\n", r.ID, r.Roles, r.Records)
	if len(r.Partitions) > 0 {
		p := r.Partitions
		fmt.Fprintf(a.Out, "part     %d partitions in sync, %d filling, %d behind, and so many records of all ('hashstream ipni members' lists the nodes)\n",
			p[cluster.Ready], p[cluster.Filling], p[cluster.Behind])
	}
	if r.Head != "" {
		fmt.Fprintf(a.Out, "chain    %s\n", r.Head)
	}
	if r.Frozen {
		fmt.Fprintf(a.Out, "frozen   no entries are taken (the disk is %.0f %% full)\n", r.Disk)
	}
	if r.Waits != "" {
		fmt.Fprintf(a.Out, "waits    %s\n", r.Waits)
	}
	if len(r.Publishers) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nPUBLISHER\tADS\tMULTIHASHES\tLAG\tLAST CONTACT\tSTATE")
	for _, p := range r.Publishers {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\n", p.Publisher.ID, p.Ads, p.Multihashes, p.Lag, ago(p.Contact), state(p))
	}
	return w.Flush()
}

// ago says how long ago something was.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

// state says in a few words how a publisher does.
func state(p ingesthttp.PublisherStatus) string {
	switch {
	case p.Blocked:
		return "blocked"
	case p.Error != "":
		return "failed: " + p.Error
	case p.Active:
		return "is read"
	case p.Frozen:
		return "waits for room"
	case p.Lag > 0:
		return "waits"
	case p.Inactive:
		return "silent for long"
	}
	return "up to date"
}

// tellFrozen says why entries are not there although all was read.
func (a commands) tellFrozen(ctx context.Context, peer string) error {
	var report indexer.Report
	err := a.do(ctx, indexer.Request{Op: indexer.OpStatus, Peer: peer}, &report)
	if err == nil && report.Frozen {
		a.Notef("the node is frozen and takes no entries, which are read when it is not any more: its disk is %.0f %% full (ingest.freeze_at), or see 'hashstream ipni freeze'", report.Disk)
	}
	return err
}

func (a commands) syncCommand() *cobra.Command {
	r := indexer.Request{Op: indexer.OpSync}
	cmd := &cobra.Command{
		Use:   "sync PEER",
		Short: "Ask a publisher for news now, and wait until they are processed",
		Example: `  hashstream ipni sync 12D3KooW…
  hashstream ipni sync 12D3KooW… --addr /dns4/publisher.example/tcp/443/https
  hashstream ipni sync 12D3KooW… --resync      read all of the chain again`,
		Args:        cobra.ExactArgs(1),
		Annotations: app.Interruptible("the node goes on by itself"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Peer = args[0]
			if err := a.forPeer(cmd.Context(), r); err != nil {
				return err
			}
			return a.tellFrozen(cmd.Context(), r.Peer)
		},
	}
	cmd.Flags().StringVar(&r.Addr, "addr", "", "multiaddr of the publisher, if it is not known yet")
	cmd.Flags().BoolVar(&r.Resync, "resync", false, "process again what was processed, and repair what is missing")
	cmd.Flags().Uint64Var(&r.Depth, "depth", 0, "advertisements that are read again at most (default all)")
	return cmd
}

// forPeer asks for what concerns the peer of r.
func (a commands) forPeer(ctx context.Context, r indexer.Request) error {
	if _, err := peer.Decode(r.Peer); err != nil {
		return app.Usage(fmt.Errorf("%q is not a peer id such as 12D3KooW…: %w", r.Peer, err))
	}
	return a.do(ctx, r, nil)
}

func (a commands) listCommand(op string) *cobra.Command {
	about := map[string]string{
		indexer.OpAllow:  "Let a peer publish and provide",
		indexer.OpBlock:  "Keep a peer from publishing and providing; what is known of it stays hidden",
		indexer.OpUnlist: "Take back what was said of a peer by allow or block",
	}
	return &cobra.Command{
		Use:     op + " PEER",
		Short:   about[op],
		Example: "  hashstream ipni " + op + " 12D3KooW…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.forPeer(cmd.Context(), indexer.Request{Op: op, Peer: args[0]})
		},
	}
}

func (a commands) removeCommand() *cobra.Command {
	r := indexer.Request{Op: indexer.OpRemove}
	cmd := &cobra.Command{
		Use:   "remove PEER",
		Short: "Remove all that is known of a provider",
		Long: `Remove makes everything that a provider advertised unfindable at once. Its space
comes back later. What it advertises from now on is taken again, unless --block.`,
		Example: `  hashstream ipni remove 12D3KooW…
  hashstream ipni remove 12D3KooW… --block`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Peer = args[0]
			return a.forPeer(cmd.Context(), r)
		},
	}
	cmd.Flags().BoolVar(&r.Block, "block", false, "take nothing from it again")
	return cmd
}

func (a commands) importCommand() *cobra.Command {
	var fromMirror, asJSON bool
	cmd := &cobra.Command{
		Use:   "import URL | --mirror",
		Short: "Follow the publishers that another indexer knows, or the chains that the mirror has",
		Example: `  hashstream ipni import https://cid.contact
  hashstream ipni import --mirror        make the index anew, with no publisher online`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := indexer.Request{Op: indexer.OpMirror}
			if fromMirror == (len(args) == 1) {
				return app.Usage(errors.New("either a URL or --mirror is needed"))
			}
			if !fromMirror {
				r.Op, r.Indexer = indexer.OpImport, args[0]
			}
			var done indexer.Imported
			if err := a.do(cmd.Context(), r, &done); err != nil {
				return err
			}
			return a.printImported(done, asJSON)
		},
	}
	cmd.Flags().BoolVar(&fromMirror, "mirror", false, "the chains in mirror.store")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) printImported(done indexer.Imported, asJSON bool) error {
	if asJSON {
		return a.PrintJSON(done)
	}
	for _, cause := range done.Failed {
		a.Notef("not followed: %s", cause)
	}
	_, err := fmt.Fprintf(a.Out, "%s followed; 'hashstream ipni status' tells how far\n", app.Count(int64(done.Publishers), "publisher"))
	return err
}

func (a commands) freezeCommand() *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "freeze",
		Short: "Take no more entries; removals, metadata and lookups go on",
		Example: `  hashstream ipni freeze
  hashstream ipni freeze --undo        what was left out is fetched then`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op := indexer.OpFreeze
			if undo {
				op = indexer.OpUnfreeze
			}
			return a.do(cmd.Context(), indexer.Request{Op: op}, nil)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take entries again")
	return cmd
}

func (a commands) advertiseCommand() *cobra.Command {
	r := indexer.Request{Op: indexer.OpAdvertise}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "advertise",
		Short: "Advertise what was added, and take back what was removed, now",
		Example: `  hashstream ipni advertise
  hashstream ipni advertise --remove-all      even if most of it is gone`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var done indexer.Advertised
			if err := a.do(cmd.Context(), r, &done); err != nil {
				return err
			}
			if asJSON {
				return a.PrintJSON(done)
			}
			_, err := fmt.Fprintf(a.Out, "%s, %d new, %d taken back\n", app.Count(int64(done.Items), "root"), done.Put, done.Removed)
			return err
		},
	}
	cmd.Flags().BoolVar(&r.RemoveAll, "remove-all", false, "take back any number of roots at once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
