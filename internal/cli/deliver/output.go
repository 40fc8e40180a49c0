package deliver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/internal/unpack"
	"github.com/hashstream/hashstream/streamer"
)

// app.Dash is the output that stands for standard output.

// output says where and how content is written.
type output struct {
	name    string // file or directory
	implied bool   // nobody named it
	format  string
	force   bool
	quiet   bool
	json    bool
}

func (o *output) flags(cmd *cobra.Command, format, about string) {
	cmd.Flags().StringVarP(&o.name, "output", "o", "", about)
	cmd.Flags().StringVarP(&o.format, "format", "f", format, "file (the file or directory itself), car (its blocks), raw (one block)")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace output that exists")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "tell nothing but errors")
	cmd.Flags().BoolVar(&o.json, "json", false, "print what was written as a line of JSON")
}

// extension is that of names made up for the format.
func (o *output) extension() string {
	if o.format == "car" {
		return ".car"
	}
	return ""
}

// checkOutput complains before any work is done.
func (a commands) checkOutput(out output) error {
	switch out.format {
	case "file", "car", "raw":
	default:
		return app.Usagef("--format %q: want file, car or raw", out.format)
	}
	switch filepath.Base(filepath.Clean(out.name)) {
	case ".", "..", string(filepath.Separator):
		return app.Hint(app.Usagef("%s is no name for the output", out.name), "name the file or directory that is to be made")
	}
	if out.name == app.Dash && out.json {
		return app.Usagef("--json needs an output other than standard output")
	}
	if out.implied && out.format != "file" && progress.IsTerminal(a.Out) {
		return app.Hint(app.Usagef("bytes of format %s would garble the terminal", out.format), "name a FILE, or write to a pipe; --output - insists")
	}
	return nil
}

// outputProgress shows progress where it does not disturb the output.
func (a commands) outputProgress(what string, out output) *progress.Bar {
	return a.Progress(what, out.quiet || out.name == app.Dash && progress.IsTerminal(a.Out))
}

// content is where a command gets blocks from.
type content interface {
	// open returns a source that is about to be asked for the blocks of sel in order.
	open(ctx context.Context, sel block.Selection) (src block.Source, done func() error, err error)
}

type remote struct {
	client *fetch.Client
	p      *progress.Bar
}

func (r remote) open(ctx context.Context, sel block.Selection) (block.Source, func() error, error) {
	s, err := r.client.Open(ctx, sel)
	if err != nil {
		return nil, nil, err
	}
	if n, ok := s.Size(); ok {
		r.p.Expect(n)
	}
	return s, s.Close, nil
}

type local struct {
	*streamer.Streamer
	p *progress.Bar
}

func (l local) open(_ context.Context, sel block.Selection) (block.Source, func() error, error) {
	d, err := digest.FromCID(sel.Root)
	if err != nil {
		return nil, nil, app.Usage(err)
	}
	return counting{l.Within(d), l.p}, func() error { return nil }, nil
}

// counting tells progress of the blocks that pass.
type counting struct {
	block.Source
	p *progress.Bar
}

func (c counting) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		for b, err := range c.Source.Blocks(ctx, d) {
			c.p.Add(int64(len(b.Data)))
			if !yield(b, err) {
				return
			}
		}
	}
}

// written is what get and dump print with --json.
type written struct {
	CID      string `json:"cid"`
	Output   string `json:"output"`
	Format   string `json:"format"`
	Bytes    int64  `json:"bytes"` // of files, or of the CAR or block
	Files    int64  `json:"files,omitempty"`
	Dirs     int64  `json:"directories,omitempty"`
	Symlinks int64  `json:"symlinks,omitempty"`
}

// write writes what sel selects of c, and tells what it wrote.
func (a commands) write(ctx context.Context, c content, sel block.Selection, out output, p *progress.Bar) error {
	w := written{CID: sel.Root.String(), Output: out.name, Format: out.format}
	if err := a.fill(ctx, c, sel, out, p, &w); err != nil {
		return err
	}
	p.Stop()
	return a.tellWritten(w, out)
}

func (a commands) tellWritten(w written, out output) error {
	switch {
	case out.json:
		return a.PrintJSON(w)
	case !out.quiet && out.name != app.Dash:
		a.Notef("wrote %s to %q", w, out.name)
	}
	return nil
}

func (a commands) fill(ctx context.Context, c content, sel block.Selection, out output, p *progress.Bar, w *written) error {
	sel.Dups = out.format == "file" // as a traversal that writes files demands blocks
	if l, ok := c.(local); ok && out.format == "car" {
		return a.writePlanned(ctx, l.Streamer, sel, out, p, w)
	}
	if isWhole(sel) && out.format != "car" {
		if done, err := a.fillWhole(ctx, c, sel, out, p, w); done {
			return err
		}
	}
	if out.format == "raw" {
		sel.Scope = block.ScopeBlock
	}
	src, done, err := c.open(ctx, sel)
	if err != nil {
		return err
	}
	defer done()
	switch out.format {
	case "car":
		return a.writeStream(out, w, func(to io.Writer) error {
			_, err := unpack.CAR(ctx, dag.Walk(ctx, src, sel), sel.Root, to)
			return err
		})
	case "raw":
		return a.writeRaw(ctx, src, sel, out, w)
	}
	return a.writeFile(ctx, src, sel, out, w)
}

func (w written) String() string {
	if w.Dirs > 0 {
		return fmt.Sprintf("%s, %s,", app.Count(w.Files, "file"), progress.Size(w.Bytes))
	}
	return progress.Size(w.Bytes)
}

// writePlanned writes a CAR as the gateway sends it.
func (a commands) writePlanned(ctx context.Context, o block.Opener, sel block.Selection, out output, p *progress.Bar, w *written) error {
	body, err := o.Open(ctx, sel)
	if err != nil {
		return err
	}
	if n, ok := body.Size(); ok {
		p.Expect(n)
	}
	return a.writeStream(out, w, func(to io.Writer) error {
		_, err := body.Send(ctx, &ticking{to, p})
		return err
	})
}

// ticking tells progress of what is written.
type ticking struct {
	io.Writer
	p *progress.Bar
}

func (t *ticking) Write(b []byte) (int, error) {
	n, err := t.Writer.Write(b)
	t.p.Add(int64(n))
	return n, err
}

// writeFile writes the file or directory itself.
func (a commands) writeFile(ctx context.Context, src block.Source, sel block.Selection, out output, w *written) error {
	root, err := terminus(ctx, src, sel)
	if err != nil {
		return err
	}
	var st unpack.Stats
	if out.name == app.Dash {
		st, err = unpack.Writer(ctx, src, root, a.Out, nil)
	} else {
		err = inDir(out.name, func(dir *os.Root, name string) (err error) {
			st, err = unpack.Tree(ctx, src, root, dir, name, &unpack.Options{Force: out.force})
			return err
		})
	}
	w.CID, w.Bytes, w.Files, w.Dirs, w.Symlinks = root.String(), st.Bytes, st.Files, st.Dirs, st.Symlinks
	return err
}

func (a commands) writeRaw(ctx context.Context, src block.Source, sel block.Selection, out output, w *written) error {
	root, err := terminus(ctx, src, sel)
	if err != nil {
		return err
	}
	b, err := block.Get(ctx, src, root)
	if err != nil {
		return err
	}
	w.CID = root.String()
	return a.writeStream(out, w, func(to io.Writer) error {
		_, err := to.Write(b.Data)
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

// writeStream writes one stream of bytes to standard output, or to a file that
// appears whole or not at all. What fails early writes nothing to standard output
// either, as that is buffered.
func (a commands) writeStream(out output, w *written, fill func(io.Writer) error) error {
	if out.name == app.Dash {
		buf := bufio.NewWriterSize(a.Out, 64<<10)
		if err := fill(&meter{buf, w}); err != nil {
			return err
		}
		return buf.Flush()
	}
	return inDir(out.name, func(dir *os.Root, name string) error {
		return unpack.File(dir, name, &unpack.Options{Force: out.force}, func(to io.Writer) error { return fill(&meter{to, w}) })
	})
}

// meter counts what is written.
type meter struct {
	io.Writer
	w *written
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Writer.Write(b)
	m.w.Bytes += int64(n)
	return n, err
}

// inDir opens the directory that holds path.
func inDir(path string, f func(dir *os.Root, name string) error) error {
	path = filepath.Clean(path)
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		err = fmt.Errorf("open the directory of the output: %w", errors.Unwrap(err))
		return app.Hint(app.Failed(err), "create the directory %s first", filepath.Dir(path))
	}
	defer dir.Close()
	return f(dir, filepath.Base(path))
}
