package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/scrub"
)

func (a commands) serveCommand() *cobra.Command {
	var listen, admin string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve what is stored to anybody who asks, over HTTP",
		Long: `Serve runs a trustless gateway: GET /ipfs/CID?format=raw answers with a block,
?format=car with the whole DAG below a root, in a form that the receiver can verify.
Health, metrics and profiles are on the admin listener, for this machine alone.

It prints one line for each listener when it accepts connections, and logs to
standard error. Interrupt it to stop; running responses may end.`,
		Example: `  hashstream serve
  hashstream serve --listen 0.0.0.0:80
  hashstream serve --listen 127.0.0.1:0 --admin 127.0.0.1:0      on free ports`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set := map[string]string{}
			if cmd.Flags().Changed("listen") {
				set["gateway.listen"] = listen
			}
			if cmd.Flags().Changed("admin") {
				set["admin.listen"] = admin
			}
			return a.serve(cmd.Context(), set)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "address of the gateway, port 0 picks one (default: gateway.listen of the configuration)")
	cmd.Flags().StringVar(&admin, "admin", "", "address of the admin listener (default: admin.listen of the configuration)")
	return cmd
}

func (a commands) serve(ctx context.Context, set map[string]string) error {
	if a.Verbose {
		set["log.level"] = "debug"
	}
	c, err := a.Config(set)
	if err != nil {
		return err
	}
	err = node.Serve(ctx, c, node.Options{
		Version: app.Version(),
		Log:     a.Err,
		Notify:  func(message string) { a.Notef("%s", message) },
		Ready: func(s control.Status) {
			for _, name := range []string{"gateway", "shard", "admin"} {
				if url := s.Addresses[name]; url != "" {
					fmt.Fprintln(a.Out, name, url)
				}
			}
		},
	})
	switch {
	case errors.Is(err, control.ErrRunning):
		err = app.Hint(err, "'hashstream status' tells about it; use another --home for a second node")
	case errors.Is(err, syscall.EADDRINUSE):
		err = app.Hint(err, "choose another address with --listen or --admin; port 0 picks a free one")
	}
	return app.Failed(err)
}

func (a commands) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell about the node that runs in this home",
		Example: `  hashstream status
  hashstream status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.WithRunning(cmd.Context(), func(c *control.Client) error {
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.PrintJSON(s)
				}
				_, err = fmt.Fprintf(a.Out, "version  %s\npid      %d\nuptime   %s\nhome     %s\ngateway  %s\nadmin    %s\npacks    %s\nindex    %s\n",
					s.Version, s.PID, s.Uptime(time.Now()), s.Home, s.Addresses["gateway"], s.Addresses["admin"], s.Packs, s.Index)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) scrubCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Have the running node check all packs now",
		Long: `Scrub makes the node read every pack, put what is corrupt in quarantine, and
release what is whole again. It goes as fast as scrub.rate of the configuration. The node does the same by itself, as scrub.interval of
the configuration says. Faults give exit code 4. Without a node, use 'hashstream pack
verify'.`,
		Example: `  hashstream scrub
  hashstream scrub --json`,
		Args:        cobra.NoArgs,
		Annotations: app.Interruptible(app.ResumeReading),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.WithRunning(cmd.Context(), func(c *control.Client) error {
				var out bytes.Buffer
				if err := c.Do(cmd.Context(), node.CommandScrub, nil, &out); err != nil {
					return err
				}
				return a.printScrub(out.Bytes(), asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a commands) printScrub(data []byte, asJSON bool) error {
	var r scrub.Report
	err := json.Unmarshal(data, &r)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.PrintJSON(r)
	} else {
		_, err = fmt.Fprintf(a.Out, "%d packs, %s, %d faults, %d blocks released\n", r.Packs, progress.Size(r.Bytes), r.Faults, r.Released)
	}
	if err == nil && r.Faults > 0 {
		err = fmt.Errorf("%d faults: %w", r.Faults, digest.ErrMismatch)
	}
	return err
}
