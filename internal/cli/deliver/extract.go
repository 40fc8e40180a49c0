package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/pack"
)

func (a commands) packExtract() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "extract CID [FILE]",
		Short: "Write a pack, or the DAG of a root, as a CAR",
		Long: `Extract writes the pack that CID names, byte for byte, or else a CAR of the DAG
whose root CID is. FILE is CID.car unless it is given; - is standard output. A FILE
appears whole and verified, or not at all.`,
		Example: `  hashstream pack extract bafk… backup.car
  hashstream pack extract bafy… - > site.car`,
		Args:        cobra.RangeArgs(1, 2),
		Annotations: app.Interruptible(app.ResumeWriting),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := parseTarget(strings.TrimSuffix(args[0], ".car"))
			if err != nil {
				return err
			}
			out.name, out.format = strings.TrimSuffix(defaultName(sel), ".car")+".car", "car"
			if len(args) == 2 {
				out.name = args[1]
			}
			if err := a.checkOutput(out); err != nil {
				return err
			}
			return a.WithHome(cmd.Context(), func(s *node.Stores) error { return a.extract(cmd.Context(), s, sel, out) })
		},
	}
	cmd.Flags().BoolVar(&out.force, "force", false, "replace a file that exists")
	cmd.Flags().BoolVarP(&out.quiet, "quiet", "q", false, "tell nothing but errors")
	return cmd
}

func (a commands) extract(ctx context.Context, s *node.Stores, sel block.Selection, out output) error {
	d, err := digest.FromCID(sel.Root)
	if err != nil {
		return app.Usage(err)
	}
	p := a.outputProgress("read", out)
	defer p.Stop()
	obj, err := s.Packs.Get(ctx, pack.Key(d), 0, -1)
	if errors.Is(err, fs.ErrNotExist) || len(sel.Path) > 0 {
		return a.write(ctx, local{s.Streamer, p}, sel, out, p)
	}
	if err != nil {
		return err
	}
	defer obj.Close()
	p.Expect(obj.Info().Size)
	var w written
	err = a.writeStream(out, &w, func(to io.Writer) error { return copyVerified(to, app.Counted(app.Until(ctx, obj), p), d) })
	if err == nil && !out.quiet && out.name != app.Dash {
		p.Stop()
		a.Notef("wrote the pack, %s, to %q", progress.Size(w.Bytes), out.name)
	}
	return err
}

// copyVerified copies r and fails if it is not what d names.
func copyVerified(w io.Writer, r io.Reader, d digest.Digest) error {
	h, err := digest.NewHasher(d.Code())
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.MultiWriter(w, h), r); err != nil {
		return err
	}
	if h.Digest() != d {
		return fmt.Errorf("pack %s: %w", d, digest.ErrMismatch)
	}
	return nil
}
