package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// The last byte of a task's key.
const (
	kindDone   = 'd'
	kindFailed = 'f'
)

func jobPrefix() []byte { return []byte("jj") }

func jobKey(id string) []byte { return append(jobPrefix(), id...) }

// tasksPrefix begins the keys of all tasks of all runs of a job: no id has a zero byte.
func tasksPrefix(id string) []byte { return append(append([]byte("jt"), id...), 0) }

func runPrefix(id string, run uint64) []byte {
	return binary.BigEndian.AppendUint64(tasksPrefix(id), run)
}

func taskPrefix(id string, run, n uint64) []byte {
	return binary.BigEndian.AppendUint64(runPrefix(id, run), n)
}

func (m message) key(kind byte) []byte {
	return append(taskPrefix(m.task.Job, m.run, m.task.ID), kind)
}

// name tells the task from others.
func (m message) name() string { return string(m.key(0)) }

// job reads the record of a job.
func (p *Pipeline) job(ctx context.Context, id string) (jobRecord, error) {
	b, err := p.store.Get(ctx, jobKey(id))
	if err != nil {
		return jobRecord{}, err
	}
	return decodeJob(b)
}

// updateJob changes the record of a run of a job. When the job has another run by
// now, or none, it fails with [ErrReplaced].
func (p *Pipeline) updateJob(ctx context.Context, id string, run uint64, f func(r *jobRecord)) error {
	return p.store.Update(ctx, jobKey(id), func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, ErrReplaced
		}
		r, err := decodeJob(old)
		if err != nil {
			return nil, err
		}
		if r.run != run {
			return nil, ErrReplaced
		}
		f(&r)
		r.updated = time.Now()
		return r.encode(), nil
	})
}

// progress is what the store knows of a task.
type progress struct {
	n      uint64
	done   *doneRecord
	failed *failRecord
}

// dead reports whether the task ended without being done.
func (t progress) dead() bool { return t.done == nil && t.failed != nil && t.failed.dead }

// ended reports whether the task is done or dead.
func (t progress) ended() bool { return t.done != nil || t.dead() }

// progress reads what the store knows of one task.
func (p *Pipeline) progress(ctx context.Context, m message) (progress, error) {
	for t, err := range p.scan(ctx, m.task.Job, m.run, kv.Prefix(taskPrefix(m.task.Job, m.run, m.task.ID))) {
		return t, err
	}
	return progress{n: m.task.ID}, nil
}

// tasks yields what the store knows of the tasks of a run from number n on.
func (p *Pipeline) tasks(ctx context.Context, id string, run, n uint64) iter.Seq2[progress, error] {
	r := kv.Prefix(runPrefix(id, run))
	r.From = taskPrefix(id, run, n)
	return p.scan(ctx, id, run, r)
}

// scan joins the keys of each task of r.
func (p *Pipeline) scan(ctx context.Context, id string, run uint64, r kv.Range) iter.Seq2[progress, error] {
	skip := len(runPrefix(id, run))
	return func(yield func(progress, error) bool) {
		var t *progress
		for pair, err := range p.store.Scan(ctx, r) {
			if err == nil && len(pair.Key) != skip+9 {
				err = fmt.Errorf("key %x: %w", pair.Key, digest.ErrMismatch)
			}
			if err != nil {
				yield(progress{}, err)
				return
			}
			n := binary.BigEndian.Uint64(pair.Key[skip:])
			if t != nil && t.n != n && !yield(*t, nil) {
				return
			}
			if t == nil || t.n != n {
				t = &progress{n: n}
			}
			if err := t.add(pair.Key[skip+8], pair.Value); err != nil {
				yield(progress{}, fmt.Errorf("task %d of job %q: %w", n, id, err))
				return
			}
		}
		if t != nil {
			yield(*t, nil)
		}
	}
}

func (t *progress) add(kind byte, value []byte) error {
	switch kind {
	case kindDone:
		r, err := decodeDone(value)
		t.done = &r
		return err
	case kindFailed:
		r, err := decodeFail(value)
		t.failed = &r
		return err
	}
	return fmt.Errorf("key of kind %q: %w", kind, digest.ErrMismatch)
}

// cut returns s as text of bounded length.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	n := maxText - len("…")
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// retry calls f until it succeeds, fails for good, or has failed for as long as the
// pipeline has patience. verb says what f does.
func (p *Pipeline) retry(ctx context.Context, verb string, f func() error) error {
	var until time.Time
	for n := 1; ; n++ {
		err := f()
		if err == nil || lasting(err) || ctx.Err() != nil {
			return err
		}
		p.trouble(fmt.Errorf("pipeline: %s: %w", verb, err))
		now := time.Now()
		if until.IsZero() {
			until = now.Add(p.o.Patience)
		}
		if !now.Before(until) || !sleep(ctx, delay(n, troubleDelay, maxTroubleDelay)) {
			return err
		}
	}
}

// The delays between attempts to reach a queue or a store.
const (
	troubleDelay    = 100 * time.Millisecond
	maxTroubleDelay = 5 * time.Second
)

// lasting reports whether err would come again.
func lasting(err error) bool {
	return errors.Is(err, ErrReplaced) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, digest.ErrMismatch)
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
