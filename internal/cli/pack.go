package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/pack"
)

func (a *app) packCommand() *cobra.Command {
	return group("pack", "Work with packs, the CARs that hold stored blocks",
		a.packWrite(), a.packExtract(), a.packList(), a.packVerify(), a.packImport(), a.packClear())
}

func (a *app) packWrite() *cobra.Command {
	var f adding
	var format string
	cmd := &cobra.Command{
		Use:   "write FILE...",
		Short: "Pack files and print the packs that hold them",
		Long: `Write does what 'hashstream add' does and prints, before the root, a line for
every pack: its CID and size.`,
		Example: `  hashstream pack write video.mp4 --pack-size 64MiB
  hashstream pack write video.mp4 --index-writer multiple-level`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: interruptible(resumeAdding),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "car" {
				return usagef("--format %q: packs are CARs; want car", format)
			}
			return a.add(cmd.Context(), &f, args, func(o *ingest.Options) {
				o.Trace.Packed = func(_ int, d digest.Digest, n int64) {
					if !f.quiet && !f.json {
						fmt.Fprintf(a.Out, "pack %s %d\n", d, n)
					}
				}
			})
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "car", "format of the packs: car")
	return cmd
}

func (a *app) packExtract() *cobra.Command {
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
		Annotations: interruptible(resumeWriting),
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
			return a.withHome(cmd.Context(), func(s *node.Stores) error { return a.extract(cmd.Context(), s, sel, out) })
		},
	}
	cmd.Flags().BoolVar(&out.force, "force", false, "replace a file that exists")
	cmd.Flags().BoolVarP(&out.quiet, "quiet", "q", false, "tell nothing but errors")
	return cmd
}

func (a *app) extract(ctx context.Context, s *node.Stores, sel block.Selection, out output) error {
	d, err := digest.FromCID(sel.Root)
	if err != nil {
		return usage(err)
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
	err = a.writeStream(out, &w, func(to io.Writer) error { return copyVerified(to, &counter{contextReader{ctx, obj}, p}, d) })
	if err == nil && !out.quiet && out.name != stdout {
		p.Stop()
		a.notef("wrote the pack, %s, to %q", progress.Size(w.Bytes), out.name)
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

// packInfo is what pack list prints with --json.
type packInfo struct {
	Pack     string    `json:"pack"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified,omitzero"`
}

func (a *app) packList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the stored packs",
		Example: `  hashstream pack list
  hashstream pack list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(nil)
			if err != nil {
				return err
			}
			// The index is not asked, so there is nothing to wait for.
			packs, closer, err := backends.Store(cmd.Context(), c.Home, c.Store.Packs, nil)
			if err != nil {
				return failed(err)
			}
			return errors.Join(a.list(cmd.Context(), packs, asJSON), closer.Close())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each pack")
	return cmd
}

func (a *app) list(ctx context.Context, packs blob.Lister, asJSON bool) error {
	for info, err := range pack.List(ctx, packs) {
		if err == nil && asJSON {
			err = a.printJSON(packInfo{info.Digest.String(), info.Size, info.ModTime})
		} else if err == nil {
			_, err = fmt.Fprintln(a.Out, info.Digest, info.Size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) packVerify() *cobra.Command {
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
		Annotations: interruptible(resumeReading),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usagef("--all and names of packs exclude each other")
			}
			packs, err := parseDigests(args)
			if err != nil {
				return err
			}
			return a.withHome(cmd.Context(), func(s *node.Stores) error {
				return a.verify(cmd.Context(), s, packs, asJSON, quiet)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "verify every pack")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each fault, and one for the sum")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// parseDigests reads CIDs, and the names of packs in their store.
func parseDigests(args []string) ([]digest.Digest, error) {
	var ds []digest.Digest
	for _, arg := range args {
		d, err := digest.Parse(strings.TrimSuffix(arg, ".car"))
		if err != nil {
			return nil, usage(err)
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// fault is what pack verify prints with --json.
type fault struct {
	Pack   string `json:"pack"`
	Block  string `json:"block,omitempty"`
	Offset int64  `json:"offset"` // of the block's bytes; -1 if the pack as a whole is wrong
	Error  string `json:"error"`
}

func (a *app) verify(ctx context.Context, s *node.Stores, packs []digest.Digest, asJSON, quiet bool) error {
	infos, total, err := sizes(ctx, s, packs)
	if err != nil {
		return err
	}
	p := a.progress("verified", quiet)
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
		err = a.printJSON(map[string]int64{"packs": int64(len(infos)), "bytes": total, "faults": faults})
	} else {
		_, err = fmt.Fprintf(a.Out, "%s, %s, %s\n", count(int64(len(infos)), "pack"), progress.Size(total), count(faults, "fault"))
	}
	if err == nil && faults > 0 {
		err = hint(fmt.Errorf("%s: %w", count(faults, "fault"), digest.ErrMismatch), "bad blocks are in quarantine; add the content again, or put a good copy in the pack's place and verify it")
	}
	return err
}

// sizes describes the packs named, or all.
func sizes(ctx context.Context, s *node.Stores, packs []digest.Digest) (infos []pack.Info, total int64, err error) {
	for _, d := range packs {
		info, err := s.Packs.Stat(ctx, pack.Key(d))
		if errors.Is(err, fs.ErrNotExist) {
			err = absentf("pack %s is not stored", d)
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

func (a *app) verifyOne(ctx context.Context, s *node.Stores, d digest.Digest, asJSON bool) (n int64, err error) {
	for f, err := range pack.Verify(ctx, s.Packs, d) {
		if errors.Is(err, fs.ErrNotExist) {
			return n, absentf("pack %s was removed while it was verified", d)
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
			err = a.printJSON(line)
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

func (a *app) packImport() *cobra.Command {
	var f adding
	cmd := &cobra.Command{
		Use:   "import FILE.car...",
		Short: "Store existing CARs as packs, byte for byte, and index them",
		Long: `Import stores CARs of version 1 or 2 without changing a byte. Their blocks may
stand in any order and their DAGs need not be complete: every block is indexed, and
complete DAGs get a plan as well. It prints the pack and its roots. A block that is
not what its CID says is refused, and nothing is stored. - is standard input.`,
		Example: `  hashstream pack import snapshot.car
  curl -s https://example.com/site.car | hashstream pack import -`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: interruptible(resumeAdding),
		RunE:        func(cmd *cobra.Command, args []string) error { return a.importCARs(cmd.Context(), &f, args) },
	}
	cmd.Flags().StringVar(&f.index, "index-writer", "", "records to write: all, single-level, multiple-level or none (default: add.index of the configuration)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print a line of JSON for each CAR")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print the CID of the pack alone")
	return cmd
}

// clearing makes a command that destroys something ask first.
func (a *app) clearing(cmd *cobra.Command, what string, f func(ctx context.Context, s *node.Stores) error) *cobra.Command {
	var yes bool
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !yes && !a.confirm(cmd.Context(), "Remove "+what+"?") {
			return hint(errors.New("nothing was removed"), "answer yes, or add --yes")
		}
		return a.withHome(cmd.Context(), func(s *node.Stores) error { return f(cmd.Context(), s) })
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks on a terminal. Elsewhere the answer is no.
func (a *app) confirm(ctx context.Context, question string) bool {
	if !progress.IsTerminal(a.In) {
		return false
	}
	fmt.Fprint(a.Err, question, " [y/N] ")
	line, _ := bufio.NewReader(a.stdin(ctx)).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

func (a *app) packClear() *cobra.Command {
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
			a.notef("%s removed", count(blobs, "blob"))
		}
		removed, err := index.Sweep(ctx, s.KV, time.Now())
		a.notef("%s and %s removed", count(n, "pack"), count(removed, "index record"))
		return err
	})
}
