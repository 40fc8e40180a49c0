package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// ValueKeys yields the encrypted value keys of key in the order of their bytes.
func (r *Router) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return r.ask(ctx, key[0], accept, func(ctx context.Context, n cluster.Node) iter.Seq2[[]byte, error] { return n.ValueKeys(ctx, key) })
}

// SealedMetadata returns encrypted metadata.
func (r *Router) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	return r.metadata(ctx, key, accept)
}

// Contexts yields the contexts of mh. A value that does not open makes the answer doubtful, and another replica
// continues it; what opens on no replica is left out, for anybody may have written it.
func (r *Router) Contexts(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Context, error] {
	return func(yield func(ipni.Context, error) bool) {
		key, opener := dhash.SecondHash(mh), dhash.NewOpener(mh)
		var buf []byte
		var c ipni.Context // of the last value that is good, which is the one that is yielded
		opens := func(value []byte) (ok bool) {
			buf, c, ok = openContext(buf[:0], value, opener)
			return ok
		}
		get := func(ctx context.Context, n cluster.Node) iter.Seq2[[]byte, error] { return n.ValueKeys(ctx, key) }
		for _, err := range r.ask(ctx, key[0], opens, get) {
			if err != nil {
				yield(ipni.Context{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// openContext opens an encrypted value key into buf.
func openContext(buf, value []byte, o *dhash.Opener) (_ []byte, c ipni.Context, ok bool) {
	valueKey, err := o.Open(buf, value)
	if err != nil {
		return buf, c, false
	}
	provider, id, err := dhash.SplitValueKey(valueKey)
	return valueKey, ipni.Context{Provider: provider, ID: string(id)}, err == nil
}

// Metadata returns the metadata of a context.
func (r *Router) Metadata(ctx context.Context, c ipni.Context) ([]byte, error) {
	valueKey, err := sealable(c)
	if err != nil {
		return nil, err
	}
	opener := dhash.NewOpener(valueKey)
	var metadata []byte // of the last answer that is good
	opens := func(sealed []byte) bool {
		var err error
		metadata, err = opener.Open(nil, sealed)
		return err == nil
	}
	if _, err := r.metadata(ctx, dhash.HashValueKey(valueKey), opens); err != nil {
		return nil, err
	}
	return metadata, nil
}

// metadata asks for metadata as if for the values of a key, of which there is at most one.
func (r *Router) metadata(ctx context.Context, key dhash.MetadataKey, good func([]byte) bool) ([]byte, error) {
	get := func(ctx context.Context, n cluster.Node) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			sealed, err := n.SealedMetadata(ctx, key)
			if !errors.Is(err, fs.ErrNotExist) {
				yield(sealed, err)
			}
		}
	}
	for sealed, err := range r.ask(ctx, key[0], good, get) {
		return bytes.Clone(sealed), err
	}
	return nil, fmt.Errorf("router: metadata %x: %w", key, fs.ErrNotExist)
}

func accept([]byte) bool { return true }

// getter asks one node.
type getter func(context.Context, cluster.Node) iter.Seq2[[]byte, error]

// ask yields the values that a replica has, each of them good, or none if there are none.
func (r *Router) ask(ctx context.Context, p byte, good func([]byte) bool, get getter) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		const rounds = 4 // in each of which the table changed
		q := &question{r: r, ctx: ctx, part: p, good: good, get: get, yield: yield}
		for range rounds {
			v, err := r.fresh(ctx)
			if v == nil || len(v.rows[p].Replicas) == 0 {
				yield(nil, unavailable(p, errors.New("no replica"), err))
				return
			}
			if q.round(v, err) {
				return
			}
		}
		yield(nil, unavailable(p, errors.New("the table changes all the time")))
	}
}

// question is a read under way.
type question struct {
	r     *Router
	ctx   context.Context
	part  byte
	good  func([]byte) bool
	get   getter
	yield func([]byte, error) bool

	last    []byte // the last value that was yielded
	started bool   // there is one
	stopped bool   // the reader wants no more
	lenient bool   // values that are not good are left out
	doubts  bool   // there was one in this round
	causes  []error
}

// errDoubt ends the answer of a replica that has a value which is not good.
var errDoubt = errors.New("a value does not open")

// round asks the replicas of a view, and reports whether the question is answered.
func (q *question) round(v *view, stale error) (answered bool) {
	row := &v.rows[q.part]
	q.causes, q.lenient, q.doubts = nil, false, false
	if stale != nil {
		q.causes = append(q.causes, stale)
	}
	ready := q.inState(v, func(s cluster.State) bool { return s == cluster.Ready })
	found := q.consult(ready)
	if found == unknown && q.again() {
		found = q.consult(ready)
	}
	if found != some && q.doubts {
		q.lenient = true
		found = q.consult(ready)
	}
	switch {
	case found == some:
		return true
	case found == none && stale == nil && row.Count(cluster.Ready) > 0:
		return row.Count(cluster.Ready) == len(row.Replicas) || q.unchanged(row)
	}
	q.lenient = true
	if q.consult(q.inState(v, func(s cluster.State) bool { return s != cluster.Ready })) == some && !q.stopped {
		q.yield(nil, fmt.Errorf("router: partition %02x: %w: %w", q.part, ipni.ErrIncomplete, errors.Join(q.causes...)))
		return true
	}
	if !q.stopped {
		q.fail()
	}
	return true
}

// again waits before replicas that failed are asked once more, as a connection can break by itself. It returns false
// if one of them was given time enough, or is known not to answer.
func (q *question) again() bool {
	const pause = 50 * time.Millisecond
	if slices.ContainsFunc(q.causes, func(err error) bool {
		return errors.Is(err, breaker.ErrOpen) || errors.Is(err, context.DeadlineExceeded)
	}) {
		return false
	}
	select {
	case <-time.After(pause):
		return true
	case <-q.ctx.Done():
		return false
	}
}

// inState returns the ways to the replicas in a state, in any order.
func (q *question) inState(v *view, want func(cluster.State) bool) (ids []*peer) {
	for _, x := range v.rows[q.part].Replicas {
		if !want(x.State) {
			continue
		}
		p, err := q.r.peer(v, x.ID)
		if err != nil {
			p = &peer{id: x.ID}
			q.causes = append(q.causes, err)
		}
		ids = append(ids, p)
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

// unchanged reports whether a row is still in force, so that those were in sync who said that
// there is nothing. It is asked only if there are replicas that were not asked. If the
// table cannot be read, it fails the question.
func (q *question) unchanged(row *cluster.Row) bool {
	now, err := q.r.table.Row(q.ctx, q.part)
	if err != nil {
		q.causes = append(q.causes, err)
		q.fail()
		return true
	}
	if now.Epoch != row.Epoch {
		q.r.view.Load().old.Store(true)
		return false
	}
	return true
}

// fail yields that too few replicas answered.
func (q *question) fail() {
	err := q.ctx.Err()
	if err != nil {
		q.causes = append(q.causes, context.Cause(q.ctx))
	}
	q.yield(nil, unavailable(q.part, q.causes...))
}

// found is what came out of asking replicas.
type found int

const (
	unknown found = iota // not all answered
	none                 // all did, and have nothing more
	some                 // the values of one were yielded, all of them
)

// consult asks peers, the next one when one is slow, fails or has nothing, and yields
// the values of the first that has some. If it breaks off, another one continues.
func (q *question) consult(peers []*peer) found {
	all := none
	for len(peers) > 0 {
		race := &race{q: q, left: peers, first: make(chan *attempt, len(peers))}
		winner := race.run()
		if race.failed {
			all = unknown
		}
		if winner == nil && race.clean && q.started {
			return some // another one has nothing more
		}
		if winner == nil {
			return all
		}
		err := q.stream(winner)
		race.end()
		switch {
		case err == nil && q.started:
			return some
		case err == nil: // nothing but what was left out
		case errors.Is(err, errDoubt):
			q.doubts = true
		default:
			all = unknown
			q.causes = append(q.causes, fmt.Errorf("router: read from %q: %w", winner.peer.id, err))
		}
		peers = race.others(winner)
	}
	return all
}

// stream yields the values of an attempt. It returns an error if another replica
// must continue.
func (q *question) stream(a *attempt) error {
	for b := a.head; ; {
		for _, value := range b.values {
			if !q.good(value) {
				if !q.lenient {
					return errDoubt
				}
				continue
			}
			q.last, q.started = value, true
			if !q.yield(value, nil) {
				q.stopped = true
				return nil
			}
		}
		if b.end {
			return b.err
		}
		select {
		case b = <-a.more:
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
	}
}

// errStalled is the cause of the end of an attempt whose node took too long.
var errStalled = fmt.Errorf("router: no answer in time: %w", context.DeadlineExceeded)

// errValue is an answer that no store gives.
var errValue = fmt.Errorf("router: values out of order or of a wrong size: %w", digest.ErrMismatch)

// maxValue is the size of the largest value that an answer may have, in bytes: what
// metadata of the largest size is sealed.
const maxValue = dhash.MaxMetadata + dhash.Overhead

// checkValue returns an error if value cannot follow last in an answer.
func checkValue(last, value []byte) error {
	if len(value) == 0 || len(value) > maxValue || last != nil && bytes.Compare(last, value) >= 0 {
		return errValue
	}
	return nil
}

// race is replicas that are asked for their first values.
type race struct {
	q      *question
	left   []*peer // not asked yet
	asked  []*attempt
	first  chan *attempt
	failed bool // one did not answer
	clean  bool // one answered that it has nothing more
	empty  map[*peer]bool
}

// run returns the first attempt that has values, or nil if none has.
func (r *race) run() *attempt {
	r.empty = map[*peer]bool{}
	hedge := time.NewTimer(0)
	defer hedge.Stop()
	for open := 0; ; {
		select {
		case a := <-r.first:
			open--
			if len(a.head.values) > 0 {
				return a
			}
			r.empty[a.peer] = true
			a.cancel(nil)
			r.clean = r.clean || a.head.err == nil
			if a.head.err != nil {
				r.failed = true
				r.q.causes = append(r.q.causes, fmt.Errorf("router: read from %q: %w", a.peer.id, a.head.err))
			}
			hedge.Reset(0)
			if len(r.left) == 0 && open == 0 {
				return nil
			}
		case <-r.q.ctx.Done():
			r.failed = true
			r.end()
			return nil
		case <-hedge.C:
			if len(r.left) > 0 {
				hedge.Reset(r.q.r.hedge(r.left[0]))
				r.start(r.left[0])
				r.left = r.left[1:]
				open++
			}
		}
	}
}

// others returns the peers that a failed winner leaves: those not asked, and those whose
// answers were not waited for.
func (r *race) others(winner *attempt) []*peer {
	rest := r.left
	for _, a := range r.asked {
		if a != winner && !r.empty[a.peer] {
			rest = append(rest, a.peer)
		}
	}
	return rest
}

// end stops all attempts.
func (r *race) end() {
	for _, a := range r.asked {
		a.cancel(nil)
	}
}
