package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/unpack"
)

// output says where and how content is written.
type output struct {
	name   string // file or directory; "-" is standard output
	format string
	force  bool
	quiet  bool
}

func (a *app) getCommand() *cobra.Command {
	var out output
	var gateways []string
	cmd := &cobra.Command{
		Use:   "get CID[/PATH]",
		Short: "Fetch content from gateways and verify every byte",
		Long: `Get fetches a file or directory from trustless gateways, verifies every block
and that none is missing, and writes it. Gateways need not be trusted: what does
not verify is never written. Without --gateway it asks the node of this home.

A file or directory appears whole or not at all. Content that is cut or corrupt
at every gateway gives exit code 4, content that none of them has 3.`,
		Example: `  hashstream get bafy…                              into a file or directory named after the CID
  hashstream get bafy…/photos/cat.jpg -o cat.jpg
  hashstream get bafy… -o - | tar t                 to standard output
  hashstream get bafy… --format car -o site.car     as a CAR, every block verified
  hashstream get bafy… --gateway https://trustless-gateway.link --gateway http://127.0.0.1:8080`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if gateways, err = a.gateways(cmd.Context(), gateways); err != nil {
				return err
			}
			p := a.progress("fetched", out.quiet)
			defer p.stop()
			client, err := fetch.New(gateways, &fetch.Options{UserAgent: "hashstream/" + version(), Trace: a.fetchTrace(p)})
			if err != nil {
				return usage(err)
			}
			defer client.Close()
			if out.name == "" {
				out.name = defaultName(sel)
			}
			return a.write(cmd.Context(), remote{client}, sel, out)
		},
	}
	out.flags(cmd, "file", "file or directory to write, - for standard output (default: named after the CID or the last part of the path)")
	cmd.Flags().StringArrayVarP(&gateways, "gateway", "g", nil, "URL of a gateway; repeat to try several in turn")
	return cmd
}

func (o *output) flags(cmd *cobra.Command, format, about string) {
	cmd.Flags().StringVarP(&o.name, "output", "o", "", about)
	cmd.Flags().StringVarP(&o.format, "format", "f", format, "file (the file or directory itself), car (its blocks), raw (one block)")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace output that exists")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
}

func (a *app) fetchTrace(p *progress) *fetch.Trace {
	t := &fetch.Trace{Bytes: func(n int) { p.add(int64(n)) }}
	if a.verbose {
		t.Request = func(_, url string) { a.notef("request %s", url) }
	}
	t.Fallback = func(gateway string, why error) {
		if a.verbose {
			a.notef("gave up on %s: %v", gateway, why)
		}
	}
	return t
}

// gateways returns those named, or else the node of this home.
func (a *app) gateways(ctx context.Context, named []string) ([]string, error) {
	if len(named) > 0 {
		return named, nil
	}
	c, err := a.config(nil)
	if err != nil {
		return nil, err
	}
	node, err := control.Dial(ctx, c.Home)
	if errors.Is(err, control.ErrNoNode) {
		return nil, hint(fmt.Errorf("no gateway to ask: %w", err), "add --gateway URL, or start a node with 'hashstream serve'")
	}
	if err != nil {
		return nil, err
	}
	defer node.Close()
	status, err := node.Status(ctx)
	if err != nil {
		return nil, err
	}
	return []string{reachable(status.Addresses["gateway"])}, nil
}

// reachable makes the URL of a listener on all addresses one that can be asked.
func reachable(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, port, err := net.SplitHostPort(rest)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return scheme + "://" + net.JoinHostPort("127.0.0.1", port)
	}
	return url
}

func (a *app) dumpCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "dump CID[/PATH] [FILE]",
		Short: "Write content from the local stores, verified",
		Long: `Dump reads content from this home's packs, verifies it, and writes it to FILE or
to standard output: as a CAR, as one raw block, or as the file or directory itself.`,
		Example: `  hashstream dump bafy… site.car
  hashstream dump bafy… --format file site
  hashstream dump bafy…/index.html --format file`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				out.name = args[1]
			}
			if out.name == "" {
				out.name = "-"
			}
			return a.withHome(cmd.Context(), func(s *node.Stores) error {
				return a.write(cmd.Context(), local{s.Streamer}, sel, out)
			})
		},
	}
	out.flags(cmd, "car", "file or directory to write, - for standard output (the default)")
	return cmd
}

// parseTarget reads CID/path, with the prefixes that people copy along.
func parseTarget(s string) (block.Selection, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(s, "ipfs://"), "/ipfs/")
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	root, err := cid.Decode(parts[0])
	if err != nil {
		return block.Selection{}, usagef("%q is not a CID: %v", parts[0], err)
	}
	return block.Selection{Root: root, Path: parts[1:], Scope: block.ScopeAll, Dups: true, Encoding: block.EncodingCAR}, nil
}

func defaultName(sel block.Selection) string {
	if n := len(sel.Path); n > 0 {
		return filepath.Base(sel.Path[n-1])
	}
	return sel.Root.String()
}

// content is where a command gets blocks from.
type content interface {
	// open returns a source that is about to be asked for the blocks of sel in order.
	open(ctx context.Context, sel block.Selection) (block.Source, func() error, error)
	walk(ctx context.Context, sel block.Selection) iter.Seq2[block.Block, error]
}

type remote struct{ client *fetch.Client }

func (r remote) open(ctx context.Context, sel block.Selection) (block.Source, func() error, error) {
	s, err := r.client.Open(ctx, sel)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

func (r remote) walk(ctx context.Context, sel block.Selection) iter.Seq2[block.Block, error] {
	return r.client.Walk(ctx, sel)
}

type local struct{ src block.Source }

func (l local) open(context.Context, block.Selection) (block.Source, func() error, error) {
	return l.src, func() error { return nil }, nil
}

func (l local) walk(ctx context.Context, sel block.Selection) iter.Seq2[block.Block, error] {
	return dag.Walk(ctx, l.src, sel)
}

// write writes what sel selects of c.
func (a *app) write(ctx context.Context, c content, sel block.Selection, out output) error {
	switch out.format {
	case "file":
		return a.writeFile(ctx, c, sel, out)
	case "car":
		sel.Dups = false
		return a.writeStream(ctx, out, func(w io.Writer) error {
			_, err := unpack.CAR(ctx, c.walk(ctx, sel), sel.Root, w)
			return err
		})
	case "raw":
		sel.Scope = block.ScopeBlock
		return a.writeStream(ctx, out, func(w io.Writer) error { return writeBlock(ctx, c, sel, w) })
	}
	return usagef("format %q: want file, car or raw", out.format)
}

// writeFile writes the file or directory itself.
func (a *app) writeFile(ctx context.Context, c content, sel block.Selection, out output) error {
	src, done, err := c.open(ctx, sel)
	if err != nil {
		return err
	}
	defer done()
	root, err := terminus(ctx, src, sel)
	if err != nil {
		return err
	}
	if out.name == "-" {
		_, err := unpack.Writer(ctx, src, root, a.Out, nil)
		return err
	}
	return inDir(out.name, func(dir *os.Root, name string) error {
		_, err := unpack.Tree(ctx, src, root, dir, name, &unpack.Options{Force: out.force})
		return err
	})
}

func terminus(ctx context.Context, src block.Source, sel block.Selection) (cid.Cid, error) {
	if len(sel.Path) == 0 {
		return sel.Root, nil
	}
	res, err := dag.Resolve(ctx, src, sel.Root, sel.Path)
	return res.Terminus, err
}

func writeBlock(ctx context.Context, c content, sel block.Selection, w io.Writer) error {
	src, done, err := c.open(ctx, sel)
	if err != nil {
		return err
	}
	defer done()
	root, err := terminus(ctx, src, sel)
	if err != nil {
		return err
	}
	b, err := block.Get(ctx, src, root)
	if err != nil {
		return err
	}
	_, err = w.Write(b.Data)
	return err
}

// writeStream writes one stream of bytes to standard output, or to a file that
// appears whole or not at all.
func (a *app) writeStream(_ context.Context, out output, fill func(io.Writer) error) error {
	if out.name == "-" {
		return fill(a.Out)
	}
	return inDir(out.name, func(dir *os.Root, name string) error {
		return unpack.File(dir, name, &unpack.Options{Force: out.force}, fill)
	})
}

// inDir opens the directory that holds path.
func inDir(path string, f func(dir *os.Root, name string) error) error {
	path = filepath.Clean(path)
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return hint(err, "create the directory %s first", filepath.Dir(path))
	}
	defer dir.Close()
	return f(dir, filepath.Base(path))
}
