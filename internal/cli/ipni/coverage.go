package ipni

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/inspect"
	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
)

const (
	asked    = 256 // multihashes of one question to the node
	examples = 100 // of what is missing that are kept
)

// covering is the options of coverage.
type covering struct {
	inspect.Request
	cids   string
	asJSON bool
}

func (a commands) coverageCommand() *cobra.Command {
	c := covering{Request: inspect.Request{Op: inspect.OpCoverage}}
	cmd := &cobra.Command{
		Use:   "coverage --against URL",
		Short: "Compare this index with another one, before it takes its place",
		Long: `Coverage tells which share of the other index's providers is known here, and how many
have news that this index has not processed. With --cids it looks CIDs up in both and tells
which share of what is found there is found here, and the other way round. CIDs of live traffic tell most:
one in a line, or multihashes; what comes twice counts twice.

Only the records of this index are compared, not what it asks other indexers for.`,
		Example: `  hashstream ipni coverage --against https://cid.contact
  hashstream ipni coverage --against https://cid.contact --walk 1000         count advertisements, too
  tail -f access.log | grep -o 'baf[a-z2-7]*' | head -10000 | hashstream ipni coverage --against https://cid.contact --cids -`,
		Args:        cobra.NoArgs,
		Annotations: app.Interruptible(app.ResumeReading),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Against == "" {
				return app.Usage(errors.New("--against URL is needed"))
			}
			client, err := ipnihttp.NewClient(c.Against, nil)
			if err != nil {
				return app.Usage(err)
			}
			client.Close() // who compares makes one
			return a.coverage(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Against, "against", "", "URL of the other index")
	flags.StringVar(&c.cids, "cids", "", "file with CIDs to look up, - for standard input")
	flags.Float64Var(&c.Rate, "rate", 0, "lookups a second at most (default 100)")
	flags.IntVar(&c.Walk, "walk", 0, "advertisements of a chain that are read to tell how far this index is behind (default none)")
	flags.BoolVar(&c.asJSON, "json", false, "print JSON")
	return cmd
}

// compared is the result, as scripts read it.
type compared struct {
	Providers *coverage.Providers `json:"providers"`
	Reads     *coverage.Reads     `json:"reads,omitempty"`
}

func (a commands) coverage(ctx context.Context, c covering) error {
	var result compared
	if c.cids != "" {
		in, err := a.Open(ctx, c.cids)
		if err != nil {
			return err
		}
		defer in.Close()
		if result.Reads, err = a.reads(ctx, c, in); err != nil {
			return err
		}
	}
	if err := a.ask(ctx, c.Request, &result.Providers); err != nil {
		return err
	}
	if c.asJSON {
		return a.PrintJSON(result)
	}
	return a.printCompared(result)
}

// ask has the index compared and decodes the answer.
func (a commands) ask(ctx context.Context, r inspect.Request, v any) error {
	var out bytes.Buffer
	if err := a.inspect(ctx, r, []string{indexer.RoleStore, indexer.RoleIngest}, &out); err != nil {
		return err
	}
	return json.Unmarshal(out.Bytes(), v)
}

// reads looks up what in lists, some at a time.
func (a commands) reads(ctx context.Context, c covering, in io.Reader) (*coverage.Reads, error) {
	sum := &coverage.Reads{}
	flush := func() error {
		if len(c.Multihashes) == 0 {
			return nil
		}
		var r coverage.Reads
		err := a.ask(ctx, c.Request, &r)
		sum.Add(r, examples)
		c.Multihashes = nil
		return err
	}
	n := 0
	for s := bufio.NewScanner(in); ; {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return nil, app.Failed(err)
			}
			err := flush()
			sum.Add(coverage.Reads{}, examples) // shares of nothing, if there was nothing
			return sum, err
		}
		n++
		text := strings.TrimSpace(s.Text())
		if text == "" {
			continue
		}
		mh, err := parseMultihash(text)
		if err != nil {
			return nil, app.Usage(fmt.Errorf("line %d: %q is neither a CID nor a multihash", n, text))
		}
		if c.Multihashes = append(c.Multihashes, mh); len(c.Multihashes) == asked {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
}

// parseMultihash reads a CID, or a multihash in base 58 or hex.
func parseMultihash(text string) (multihash.Multihash, error) {
	if c, err := cid.Decode(text); err == nil {
		return c.Hash(), nil
	}
	if mh, err := multihash.FromB58String(text); err == nil {
		return mh, nil
	}
	return multihash.FromHexString(text)
}

func (a commands) printCompared(c compared) error {
	p := c.Providers
	fmt.Fprintf(a.Out, "providers  %.1f %% of theirs known here: %d of %d; %d known here\n", 100*p.Coverage, p.Both, p.Theirs, p.Ours)
	fmt.Fprintf(a.Out, "distance   %d the same, %d behind by %d advertisements in all, %d ahead, %d not known\n", p.Same, p.Behind, p.Ads, p.Ahead, p.Unclear)
	for _, id := range p.Missing {
		fmt.Fprintf(a.Out, "           not known here: %s\n", id)
	}
	for _, d := range p.Worst {
		if d.Ads > 0 {
			fmt.Fprintf(a.Out, "           %s is %s behind\n", d.Provider, app.Count(int64(d.Ads), "advertisement"))
		}
	}
	r := c.Reads
	if r == nil {
		return nil
	}
	_, err := fmt.Fprintf(a.Out, "reads      %.1f %% of what is found there is found here (%d of %d), %.1f %% the other way round\n"+
		"results    %.1f %% of their providers of what was asked for are found here (%d of %d)\nnot found  %.1f %% here, %.1f %% there, of %d; %d without an answer\n",
		100*r.Coverage, r.Both, r.Theirs, 100*r.Reverse, 100*r.ResultCoverage, r.ResultsBoth, r.Results, 100*r.NotFoundOurs, 100*r.NotFoundTheirs, r.Asked, r.Failed)
	for _, cause := range r.Failures {
		a.Notef("no answer: %s", cause)
	}
	return err
}
