package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"

	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pipeline"
	"github.com/hashstream/hashstream/queue/memqueue"
)

// bodies yields n bodies.
func bodies(n int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "body %d", i), nil) {
				return
			}
		}
	}
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	p := pipeline.New(memkv.New(), memqueue.New(nil), nil)
	working := make(chan error)
	go func() {
		working <- p.Work(ctx, func(ctx context.Context, t pipeline.Task) error {
			if t.ID == 2 {
				return pipeline.Permanent(errors.New("no such file"))
			}
			pipeline.Count(ctx, "bytes", int64(len(t.Body)))
			return nil
		})
	}()
	if err := p.Submit(ctx, pipeline.Job{ID: "photos", About: "s3://photos"}, bodies(5)); err != nil {
		log.Fatal(err)
	}
	s, err := p.Wait(ctx, "photos")
	fmt.Println(s.State, s.Tasks, s.Done, s.Dead, s.Counts, err)
	for t, err := range p.Dead(ctx, "photos") {
		fmt.Printf("%v: %s %v\n", t.Task, t.Cause, err)
	}
	cancel()
	fmt.Println(<-working)
	// Output:
	// done 5 4 1 map[bytes:24] <nil>
	// task 2 of job "photos": no such file <nil>
	// pipeline: work: context canceled
}
