package ipni

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/inspect"
	"github.com/hashstream/hashstream/ipni/verify"
)

func (a commands) verifyCommand() *cobra.Command {
	r := inspect.Request{Op: inspect.OpVerify}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [PUBLISHER]",
		Short: "Check that the store holds what the advertisements say",
		Long: `Verify reads the chain of a publisher again, or those of all, from the newest
advertisement that was processed to the oldest, and looks in the store for each multihash that
it should hold, and for the metadata. What was removed later is not missed. A node may
run meanwhile. Chains are read where ingestion reads them: of the publisher, or in the mirror.

Nothing that is hashed can be told right by looking at it: this is the only proof.
The exit code is 4 if something is missing, 1 if not everything could be read.`,
		Example: `  hashstream ipni verify
  hashstream ipni verify 12D3KooW… --sample 0.01     one multihash of a hundred
  hashstream ipni verify --repair                    put back what is missing`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: app.Interruptible(app.ResumeReading),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Peer = args[0]
				if _, err := peer.Decode(r.Peer); err != nil {
					return app.Usage(fmt.Errorf("%q is not a peer id such as 12D3KooW…: %w", r.Peer, err))
				}
			}
			if r.Sample < 0 || r.Sample > 1 {
				return app.Usagef("--sample %v is not a share from 0 to 1", r.Sample)
			}
			return a.verify(cmd.Context(), r, asJSON)
		},
	}
	cmd.Flags().Float64Var(&r.Sample, "sample", 0, "share of the multihashes that is checked, such as 0.01 (default all)")
	cmd.Flags().BoolVar(&r.Repair, "repair", false, "put back what is missing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one line for each advertisement that is not in order and each chain")
	return cmd
}

func (a commands) verify(ctx context.Context, r inspect.Request, asJSON bool) error {
	var total verify.Report
	chains, damaged := int64(0), false
	ask := func(w io.Writer) error { return a.inspect(ctx, r, []string{indexer.RoleStore, indexer.RoleIngest}, w) }
	err := lines(ask, func(v inspect.Verified) error {
		if v.Report != nil {
			chains++
			damaged = damaged || v.Report.Damaged()
			total.Add(*v.Report)
		}
		if asJSON {
			return a.PrintJSON(v)
		}
		return a.printVerified(v)
	})
	if err != nil {
		return err
	}
	if !asJSON {
		fmt.Fprintf(a.Out, "%s, %s, %d of %d multihashes checked, %d missing; metadata of %s checked, %d missing\n", app.Count(chains, "chain"),
			app.Count(total.Ads, "advertisement"), total.Checked, total.Multihashes, total.Missing, app.Count(total.Metadata, "context"), total.MetadataMissing)
	}
	switch {
	case damaged:
		return app.Hint(fmt.Errorf("verify: something is missing: %w", digest.ErrMismatch), "add --repair to put it back")
	case !total.Whole():
		return app.Failed(errors.New("verify: not everything could be read"))
	}
	return nil
}

func (a commands) printVerified(v inspect.Verified) (err error) {
	if f := v.Finding; f != nil {
		_, err = fmt.Fprintf(a.Out, "%s  context %s of %s:", f.Ad, base64.StdEncoding.EncodeToString(f.ContextID), f.Provider)
		if f.Missing > 0 {
			fmt.Fprintf(a.Out, " %d of %d multihashes missing, such as %s", f.Missing, f.Checked, f.Examples[0])
		}
		if f.Metadata != "" {
			fmt.Fprintf(a.Out, " metadata %s", f.Metadata)
		}
		if f.Cause != "" {
			fmt.Fprintf(a.Out, " not read: %s", f.Cause)
		}
		if f.Repaired {
			fmt.Fprint(a.Out, " (put back)")
		}
		fmt.Fprintln(a.Out)
	}
	if r := v.Report; r != nil && r.Ended != "" {
		a.Notef("%s: not read below %s: %s", r.Publisher, app.Count(r.Ads, "advertisement"), r.Ended)
	}
	return err
}
