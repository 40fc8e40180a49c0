package keep

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/pack"
)

// packInfo is what pack list prints with --json.
type packInfo struct {
	Pack     string    `json:"pack"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified,omitzero"`
}

func (a commands) packList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the stored packs",
		Example: `  hashstream pack list
  hashstream pack list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Config(nil)
			if err != nil {
				return err
			}
			// The index is not asked, so there is nothing to wait for.
			packs, closer, err := backends.Store(cmd.Context(), c.Home, c.Store.Packs, nil)
			if err != nil {
				return app.Failed(err)
			}
			return errors.Join(a.list(cmd.Context(), packs, asJSON), closer.Close())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each pack")
	return cmd
}

func (a commands) list(ctx context.Context, packs blob.Lister, asJSON bool) error {
	for info, err := range pack.List(ctx, packs) {
		if err == nil && asJSON {
			err = a.PrintJSON(packInfo{info.Digest.String(), info.Size, info.ModTime})
		} else if err == nil {
			_, err = fmt.Fprintln(a.Out, info.Digest, info.Size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a commands) packVerify() *cobra.Command {
	var all, asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "verify [PACK...]",
		Short: "Hash packs and every block in them again",
		Long: `Verify reads packs and compares them with their names, and every block with its
CID. It names each fault and puts bad blocks in quarantine, so that they are not
served, and releases those of a pack that is whole again. Without arguments, or with --all, it takes every pack. Faults give exit code
4, a pack that is not stored 3.`,
		Example: `  hashstream pack verify --all
  hashstream pack verify bafk…`,
		Annotations: app.Interruptible(app.ResumeReading),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return app.Usagef("--all and names of packs exclude each other")
			}
			packs, err := app.ParseDigests(args)
			if err != nil {
				return err
			}
			return a.WithHome(cmd.Context(), func(s *node.Stores) error {
				return a.verify(cmd.Context(), s, packs, asJSON, quiet)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "verify every pack")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each fault, and one for the sum")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// fault is what pack verify prints with --json.
type fault struct {
	Pack   string `json:"pack"`
	Block  string `json:"block,omitempty"`
	Offset int64  `json:"offset"` // of the block's bytes; -1 if the pack as a whole is wrong
	Error  string `json:"error"`
}

func (a commands) verify(ctx context.Context, s *node.Stores, packs []digest.Digest, asJSON, quiet bool) error {
	infos, total, err := sizes(ctx, s, packs)
	if err != nil {
		return err
	}
	p := a.Progress("verified", quiet)
	defer p.Stop()
	p.Expect(total)
	var faults int64
	for _, info := range infos {
		n, err := a.verifyOne(ctx, s, info.Digest, asJSON)
		faults += n
		if err != nil {
			return err
		}
		p.Add(info.Size)
	}
	p.Stop()
	if asJSON {
		err = a.PrintJSON(map[string]int64{"packs": int64(len(infos)), "bytes": total, "faults": faults})
	} else {
		_, err = fmt.Fprintf(a.Out, "%s, %s, %s\n", app.Count(int64(len(infos)), "pack"), progress.Size(total), app.Count(faults, "fault"))
	}
	if err == nil && faults > 0 {
		err = app.Hint(fmt.Errorf("%s: %w", app.Count(faults, "fault"), digest.ErrMismatch), "bad blocks are in quarantine; add the content again, or put a good copy in the pack's place and verify it")
	}
	return err
}

// sizes describes the packs named, or all.
func sizes(ctx context.Context, s *node.Stores, packs []digest.Digest) (infos []pack.Info, total int64, err error) {
	for _, d := range packs {
		info, err := s.Packs.Stat(ctx, pack.Key(d))
		if errors.Is(err, fs.ErrNotExist) {
			err = app.Absentf("pack %s is not stored", d)
		}
		if err != nil {
			return nil, 0, err
		}
		infos = append(infos, pack.Info{Digest: d, Size: info.Size})
		total += info.Size
	}
	if len(packs) > 0 {
		return infos, total, nil
	}
	for info, err := range pack.List(ctx, s.Packs) {
		if err != nil {
			return nil, 0, err
		}
		infos = append(infos, info)
		total += info.Size
	}
	return infos, total, nil
}

func (a commands) verifyOne(ctx context.Context, s *node.Stores, d digest.Digest, asJSON bool) (n int64, err error) {
	for f, err := range pack.Verify(ctx, s.Packs, d) {
		if errors.Is(err, fs.ErrNotExist) {
			return n, app.Absentf("pack %s was removed while it was verified", d)
		}
		if err != nil {
			return n, err
		}
		n++
		if err := s.Quarantine(ctx, f); err != nil {
			return n, err
		}
		line := fault{Pack: d.String(), Offset: f.Offset, Error: f.Err.Error()}
		if f.CID.Defined() {
			line.Block = f.CID.String()
		}
		if asJSON {
			err = a.PrintJSON(line)
		} else {
			_, err = fmt.Fprintln(a.Out, f)
		}
		if err != nil {
			return n, err
		}
	}
	if n == 0 {
		err = release(ctx, s, index.Location{Pack: d})
	}
	return n, err
}

// clearing makes a command that destroys something ask first.
func (a commands) clearing(cmd *cobra.Command, what string, f func(ctx context.Context, s *node.Stores) error) *cobra.Command {
	var yes bool
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !yes && !a.confirm(cmd.Context(), "Remove "+what+"?") {
			return app.Hint(errors.New("nothing was removed"), "answer yes, or add --yes")
		}
		return a.WithHome(cmd.Context(), func(s *node.Stores) error { return f(cmd.Context(), s) })
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks on a terminal. Elsewhere the answer is no.
func (a commands) confirm(ctx context.Context, question string) bool {
	if !progress.IsTerminal(a.In) {
		return false
	}
	fmt.Fprint(a.Err, question, " [y/N] ")
	line, _ := bufio.NewReader(a.Stdin(ctx)).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

func (a commands) packClear() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clear",
		Short: "Remove every pack, and what the index knows of them",
		Long: `Clear deletes every pack of this home, every blob that is stored as one block, and the records that point into them. It
asks first; where nobody can answer, --yes is needed.`,
		Example: `  hashstream pack clear --yes`,
	}
	return a.clearing(cmd, "every pack of this home", func(ctx context.Context, s *node.Stores) error {
		var n int64
		for info, err := range pack.List(ctx, s.Packs) {
			if err == nil {
				err = forget(ctx, s, index.Location{Pack: info.Digest})
			}
			if err == nil {
				err = s.Packs.Delete(ctx, pack.Key(info.Digest))
			}
			if err != nil {
				return fmt.Errorf("%d packs removed: %w", n, err)
			}
			n++
		}
		blobs, err := clearBlobs(ctx, s)
		if err != nil {
			return fmt.Errorf("%d packs and %d blobs removed: %w", n, blobs, err)
		}
		if blobs > 0 {
			a.Notef("%s removed", app.Count(blobs, "blob"))
		}
		removed, err := index.Sweep(ctx, s.KV, time.Now())
		a.Notef("%s and %s removed", app.Count(n, "pack"), app.Count(removed, "index record"))
		return err
	})
}
