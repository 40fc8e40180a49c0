// Package lookup is the command that asks indexers who has a CID.
package lookup

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/find"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
)

// publicIndexer is asked if no other is named.
const publicIndexer = "https://cid.contact"

// Bounds of a lookup over a network.
const (
	providerAge = time.Minute // how old what is known of a provider may be
	ahead       = 8           // contexts that are completed at the same time
)

// finding is what find is asked, and how.
type finding struct {
	asked    string // the CID as the user wrote it
	indexers []string
	plain    bool
	asJSON   bool
}

// command is the command find.
type command struct{ *app.App }

// Find is the command find.
func Find(c *app.App) *cobra.Command {
	var f finding
	a := command{c}
	cmd := &cobra.Command{
		Use:   "find CID",
		Short: "Find who has content, without telling the indexer what is looked for",
		Long: `Find asks indexers who provides a CID. It sends the hash of the CID's multihash, and
decrypts what comes back with the multihash itself: the indexer learns neither the CID nor
which of its records were meant. An indexer that does not know hashed lookups can be asked
with --plain.`,
		Example: `  hashstream find bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi
  hashstream find CID --indexer http://127.0.0.1:8080
  hashstream find CID --plain --json`,
		Args:        cobra.ExactArgs(1),
		Annotations: app.Interruptible(app.ResumeReading),
		RunE: func(cmd *cobra.Command, args []string) error {
			ds, err := app.ParseDigests(args)
			if err != nil {
				return err
			}
			f.asked = args[0]
			return a.find(cmd.Context(), ds[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.indexers, "indexer", []string{publicIndexer}, "URL of an indexer; several are asked one after the other until one knows")
	flags.BoolVar(&f.plain, "plain", false, "send the CID itself")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON, one line for each provider")
	return cmd
}

// find prints what the first indexer that knows something tells. That none has d is
// absence only if all of them said so.
func (a command) find(ctx context.Context, d digest.Digest, f finding) error {
	var failures []error
	for _, url := range f.indexers {
		n, err := a.findAt(ctx, d, url, f)
		if err != nil {
			failures = append(failures, err)
		}
		if n > 0 {
			return err
		}
	}
	if err := errors.Join(failures...); err != nil {
		return app.Hint(app.Failed(err), "name another indexer with --indexer URL")
	}
	return app.Hint(app.Absentf("find %s: nobody is known to have it", f.asked), "what was advertised a moment ago may take some minutes")
}

func (a command) findAt(ctx context.Context, d digest.Digest, url string, f finding) (n int, err error) {
	client, err := ipnihttp.NewClient(url, nil)
	if err != nil {
		return 0, app.Usage(err)
	}
	defer client.Close()
	var finder ipni.Finder = client
	if !f.plain {
		finder = find.New(find.Open(client), find.NewInfos(client, providerAge), &find.Options{Ahead: ahead})
	}
	for r, err := range finder.Find(ctx, d.Bytes()) {
		if err != nil {
			return n, fmt.Errorf("find at %s: %w", client.Name(), err)
		}
		n++
		if err := a.printResult(r, f.asJSON); err != nil {
			return n, err
		}
	}
	return n, nil
}

// printed is a result as scripts read it.
type printed struct {
	Provider  string   `json:"provider"`
	Addrs     []string `json:"addrs"`
	Protocols []string `json:"protocols"`
	ContextID string   `json:"context_id"` // base64
	Metadata  string   `json:"metadata"`   // base64
}

func (a command) printResult(r ipni.Result, asJSON bool) error {
	p := printed{
		Provider: r.Provider.ID.String(), Addrs: []string{}, Protocols: []string{},
		ContextID: base64.StdEncoding.EncodeToString(r.ContextID), Metadata: base64.StdEncoding.EncodeToString(r.Metadata),
	}
	for _, addr := range r.Provider.Addrs {
		p.Addrs = append(p.Addrs, addr.String())
	}
	for protocol, err := range ad.Protocols(r.Metadata) {
		if err != nil {
			break // the metadata may be of a kind that only its provider knows
		}
		p.Protocols = append(p.Protocols, protocol.Code.String())
	}
	if asJSON {
		return a.PrintJSON(p)
	}
	how := strings.Join(slices.Compact(p.Protocols), ", ")
	if how == "" {
		how = "unknown protocol"
	}
	_, err := fmt.Fprintf(a.Out, "%s  %s\n", p.Provider, how)
	for _, addr := range p.Addrs {
		if err == nil {
			_, err = fmt.Fprintf(a.Out, "    %s\n", addr)
		}
	}
	return err
}
