package deliver

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
)

func (a commands) getCommand() *cobra.Command {
	var out output
	var gateways []string
	var part string
	cmd := &cobra.Command{
		Use:   "get CID[/PATH]",
		Short: "Fetch content from gateways and verify every byte",
		Long: `Get fetches a file or directory from trustless gateways, verifies every block
and that none is missing, and writes it. Gateways need not be trusted: what does
not verify is never written. Without --gateway it asks the node of this home. The
variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment are heeded.

With --range a part of a file is fetched and verified, from a BLAKE3 blob of any size
with no more than a few kilobytes beside it, from other files by the blocks that hold it.
Positions count from 0, and the last one belongs to the range. It goes to standard output
unless --output names a file.

A file or directory appears whole or not at all; on standard output a part may
have been written when it fails. Content that is cut or corrupt at every gateway
gives exit code 4, content that none of them has 3.`,
		Example: `  hashstream get bafy…                              into a file or directory named after the CID
  hashstream get bafy…/photos/cat.jpg -o cat.jpg
  hashstream get bafy…/notes.txt -o - | less        to standard output
  hashstream get bafy… --format car -o site.car     as a CAR, every block verified
  hashstream get bafk… --range 1048576:2097151 -o part     the second mebibyte
  hashstream get bafk… --range 4096: -o rest        from there to the end; -4096: is the last 4096 bytes
  hashstream get bafy… --gateway https://trustless-gateway.link --gateway http://127.0.0.1:8080`,
		Args:        cobra.ExactArgs(1),
		Annotations: app.Interruptible(app.ResumeWriting),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("range") {
				if sel.Bytes, err = parseRange(part); err != nil {
					return err
				}
				if out.name == "" {
					out.name = app.Dash
				}
			}
			if out.name == "" {
				out.name = defaultName(sel) + out.extension()
			}
			return a.get(cmd.Context(), gateways, sel, out)
		},
	}
	out.flags(cmd, "file", "file or directory to write, - for standard output (default: named after the CID or the last part of the path)")
	cmd.Flags().StringVar(&part, "range", "", "bytes FROM:TO of a file, both included, or FROM: to the end, or -N: for the last N; FROM-TO is the same")
	cmd.Flags().StringArrayVarP(&gateways, "gateway", "g", nil, "URL of a gateway; repeat to try several in turn (default: the node of this home)")
	return cmd
}

func (a commands) get(ctx context.Context, gateways []string, sel block.Selection, out output) error {
	if err := a.checkOutput(out); err != nil {
		return err
	}
	if sel.Bytes != nil && out.format != "file" {
		return app.Usagef("--range is of the bytes of a file; it takes no --format %s", out.format)
	}
	gateways, err := a.gateways(ctx, gateways)
	if err != nil {
		return err
	}
	p := a.outputProgress("fetched", out)
	defer p.Stop()
	client, err := fetch.New(gateways, &fetch.Options{UserAgent: "hashstream/" + app.Version(), Proxy: http.ProxyFromEnvironment, Trace: a.fetchTrace(p)})
	if err != nil {
		return app.Usage(err)
	}
	defer client.Close()
	if sel.Bytes != nil {
		return a.getRange(ctx, remote{client, p}, sel, out, p)
	}
	return a.write(ctx, remote{client, p}, sel, out, p)
}

func (a commands) fetchTrace(p *progress.Bar) *fetch.Trace {
	t := &fetch.Trace{Bytes: func(n int) { p.Add(int64(n)) }}
	if a.Verbose {
		t.Request = func(_, url string) { a.Notef("request %s", url) }
	}
	t.Fallback = func(gateway string, why error) {
		if a.Verbose {
			a.Notef("gave up on %s: %v", gateway, why)
		}
	}
	return t
}

// gateways returns those named, or else the node of this home.
func (a commands) gateways(ctx context.Context, named []string) ([]string, error) {
	if len(named) > 0 {
		return named, nil
	}
	c, err := a.Config(nil)
	if err != nil {
		return nil, err
	}
	node, err := app.Dial(ctx, c.Home, "add --gateway URL, or start a node with 'hashstream serve'")
	if err != nil {
		return nil, err
	}
	defer node.Close()
	status, err := node.Status(ctx)
	if err != nil {
		return nil, app.Failed(err)
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

func (a commands) dumpCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "dump CID[/PATH] [FILE]",
		Short: "Write content from the local stores, verified",
		Long: `Dump reads content from this home's packs, verifies it, and writes it to FILE or
to standard output: as a CAR, as one raw block, or as the file or directory itself.
A FILE appears whole or not at all. Content that is not there gives exit code 3,
corrupt content 4.`,
		Example: `  hashstream dump bafy… site.car
  hashstream dump bafy… --format file site
  hashstream dump bafy…/index.html --format file`,
		Args:        cobra.RangeArgs(1, 2),
		Annotations: app.Interruptible(app.ResumeWriting),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				if out.name != "" {
					return app.Usagef("FILE and --output exclude each other")
				}
				out.name = args[1]
			}
			if out.name == "" {
				out.name, out.implied = app.Dash, true
			}
			return a.dump(cmd.Context(), sel, out)
		},
	}
	out.flags(cmd, "car", "file or directory to write, - for standard output (the default)")
	return cmd
}

func (a commands) dump(ctx context.Context, sel block.Selection, out output) error {
	if err := a.checkOutput(out); err != nil {
		return err
	}
	return a.WithHome(ctx, func(s *node.Stores) error {
		p := a.outputProgress("read", out)
		defer p.Stop()
		err := a.write(ctx, local{s.Streamer, p}, sel, out, p)
		if app.ExitCode(err) == app.ExitNotFound {
			err = app.Hint(err, "this home does not have it; 'hashstream get --gateway URL' fetches it from elsewhere")
		}
		return err
	})
}

// parseTarget reads CID/path, with the prefixes that people copy along. Only in a
// URL are the parts of the path escaped.
func parseTarget(s string) (block.Selection, error) {
	rest, isURL := strings.CutPrefix(s, "ipfs://")
	rest = strings.TrimPrefix(rest, "/ipfs/")
	name, path, _ := strings.Cut(rest, "/")
	root, err := cid.Decode(name)
	if err != nil {
		return block.Selection{}, app.Usagef("%q is not a CID: %v", name, err)
	}
	sel := block.Selection{Root: root, Scope: block.ScopeAll, Dups: true, Encoding: block.EncodingCAR}
	for part := range strings.SplitSeq(path, "/") {
		if isURL {
			if part, err = url.PathUnescape(part); err != nil {
				return block.Selection{}, app.Usagef("%q: %v", s, err)
			}
		}
		if part != "" {
			sel.Path = append(sel.Path, part)
		}
	}
	return sel, nil
}

// defaultName is what content is written to when nobody says: the last name of the
// path where that is the name of a file here, the root elsewhere. Escaped parts of a
// URL may say anything ("/", "..").
func defaultName(sel block.Selection) string {
	if n := len(sel.Path); n > 0 {
		if name := sel.Path[n-1]; name == filepath.Base(name) && name != "." && filepath.IsLocal(name) {
			return name
		}
	}
	return sel.Root.String()
}
