package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/cli/content"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/pipeline"
)

func (a commands) workCommand() *cobra.Command {
	var f content.Placing
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Do tasks of scans that run elsewhere, until interrupted",
		Long: `Work takes tasks from the queue of the configuration, which other machines share, and
does them. The index must be shared too, and the sources be readable here under the same
names. Any number may work; one that is killed loses nothing.`,
		Example: `  hashstream pipeline work --queue nats://127.0.0.1:4222/hashstream
  hashstream pipeline work --queue nats://127.0.0.1:4222/hashstream --concurrency 16`,
		Args:        cobra.NoArgs,
		Annotations: app.Interruptible("tasks that were not done are done by others"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Config(f.Overrides(map[string]string{}))
			if err != nil {
				return err
			}
			if !backends.SharedQueue(c.Pipeline.Queue) {
				return app.Hint(app.Usagef("the queue is in memory: nobody else puts tasks into it"), "name one that others share: --queue nats://HOST:4222/STREAM")
			}
			return a.withIndexer(cmd.Context(), c, func(x *node.Indexer) error {
				a.Notef("working on %s", config.Redact(c.Pipeline.Queue))
				return app.Failed(x.Pipeline.Work(cmd.Context(), x.Work))
			})
		},
	}
	f.Flags(cmd)
	return cmd
}

// job is what pipeline status prints with --json.
type job struct {
	ID      string           `json:"id"`
	About   string           `json:"about"`
	State   string           `json:"state"`
	Cause   string           `json:"cause,omitempty"`
	Tasks   int64            `json:"tasks"`
	Done    int64            `json:"done"`
	Dead    []deadTask       `json:"dead"`
	Retried int64            `json:"retried"`
	Counts  map[string]int64 `json:"counts"`
	Started time.Time        `json:"started"`
	Updated time.Time        `json:"updated"`
}

type deadTask struct {
	Task     uint64    `json:"task"`
	Attempts int       `json:"attempts"`
	Cause    string    `json:"cause"`
	Time     time.Time `json:"time"`
}

func (a commands) jobsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how far scans are, and which of their tasks failed for good",
		Example: `  hashstream pipeline status
  hashstream pipeline status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withPipeline(cmd.Context(), func(p *pipeline.Pipeline) error { return a.printJobs(cmd.Context(), p, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each job")
	return cmd
}

func (a commands) printJobs(ctx context.Context, p *pipeline.Pipeline, asJSON bool) error {
	jobs := 0
	for s, err := range p.Jobs(ctx) {
		if err != nil {
			return app.Failed(err)
		}
		jobs++
		j := job{s.Job.ID, s.Job.About, s.State.String(), s.Cause, s.Tasks, s.Done, []deadTask{}, s.Retried, s.Counts, s.Started, s.Updated}
		for d, err := range p.Dead(ctx, s.Job.ID) {
			if err != nil {
				return app.Failed(err)
			}
			j.Dead = append(j.Dead, deadTask{d.ID, d.Attempts, d.Cause, d.Time})
		}
		if err := a.printJob(j, asJSON); err != nil {
			return err
		}
	}
	if jobs == 0 && !asJSON {
		a.Notef("no scan is under way, and none left tasks that failed")
	}
	return nil
}

func (a commands) printJob(j job, asJSON bool) error {
	if asJSON {
		return a.PrintJSON(j)
	}
	_, err := fmt.Fprintf(a.Out, "%s %s %s: %d of %d tasks done, %d failed for good\n", j.ID, j.About, j.State, j.Done, j.Tasks, len(j.Dead))
	for _, d := range j.Dead {
		if err == nil {
			_, err = fmt.Fprintf(a.Out, "  task %d after %s: %s\n", d.Task, app.Count(int64(d.Attempts), "attempt"), d.Cause)
		}
	}
	return err
}

func (a commands) retryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retry [JOB]",
		Short: "Give tasks that failed for good another chance",
		Long: `Retry puts failed tasks back into the queue, of one job or of all. With the queue in
memory nobody would take them: there 'hashstream scan' does the same.`,
		Example: `  hashstream pipeline retry
  hashstream pipeline retry origin-0123456789abcdef`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Config(nil)
			if err != nil {
				return err
			}
			id := ""
			if len(args) == 1 {
				id = args[0]
			}
			return a.withIndexer(cmd.Context(), c, func(x *node.Indexer) error { return a.retry(cmd.Context(), c, x, id) })
		},
	}
}

// retry revives tasks and, where nobody else can do them, does them.
func (a commands) retry(ctx context.Context, c config.Config, x *node.Indexer, id string) error {
	n, err := x.Pipeline.Retry(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return app.Hint(app.Absentf("there is no job %s", id), "'hashstream pipeline status' lists them")
	}
	if err != nil {
		return err
	}
	a.Notef("%s again", app.Count(int64(n), "task"))
	if n == 0 || backends.SharedQueue(c.Pipeline.Queue) {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failures := make(chan error, 1)
	go func() {
		failures <- waitAll(ctx, x.Pipeline, id)
		stop()
	}()
	err = x.Pipeline.Work(ctx, x.Work)
	if failure := <-failures; failure != nil {
		return failure
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return app.Failed(err)
}

// waitAll waits for a job, or for all, and fails if tasks of them do.
func waitAll(ctx context.Context, p *pipeline.Pipeline, id string) error {
	var dead int64
	for s, err := range p.Jobs(ctx) {
		if err == nil && id != "" && s.Job.ID != id {
			continue
		}
		if err == nil {
			s, err = p.Wait(ctx, s.Job.ID)
		}
		if err != nil {
			return app.Failed(err)
		}
		dead += s.Dead
	}
	if dead > 0 {
		return app.Hint(app.Failed(fmt.Errorf("%s failed for good", app.Count(dead, "task"))), "'hashstream pipeline status' tells why")
	}
	return nil
}

// withIndexer calls f with what indexes sources.
func (a commands) withIndexer(ctx context.Context, c config.Config, f func(*node.Indexer) error) error {
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		x, err := s.Indexer(ctx, c, nil, content.Traced(a.App))
		if err != nil {
			return app.Failed(err)
		}
		defer x.Close()
		return f(x)
	})
}

// withPipeline calls f with the state of jobs, for which no queue is needed.
func (a commands) withPipeline(ctx context.Context, f func(*pipeline.Pipeline) error) error {
	return a.WithHome(ctx, func(s *node.Stores) error { return f(pipeline.New(s.KV, nil, nil)) })
}
