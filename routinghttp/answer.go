package routinghttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
)

const (
	// lineDelay is how long a line waits for more results of its peer, and for other lines: it
	// costs no reader anything, and makes one record and one packet of what is there at once.
	lineDelay = 5 * time.Millisecond
	maxWaits  = 256 // lines that wait
)

// answer writes what is found for one request.
type answer struct {
	h       *Handler
	w       http.ResponseWriter
	form    form
	head    bool // of a HEAD request
	records *records

	buf     []byte
	waiting []*record
	sent    bool  // the head
	keep    bool  // it says that caches may keep the answer
	lacks   error // matches ipni.ErrIncomplete: records that somebody else may have
	written int   // records
	first   time.Time
}

// run finds and writes. The error is the finder's, or that of writing.
func (a *answer) run(ctx context.Context, finder ipni.Finder, mh multihash.Multihash) error {
	if a.form == formLines && !a.head {
		return a.lines(ctx, finder, mh)
	}
	for res, err := range finder.Find(ctx, mh) {
		if err == nil {
			_, err = a.take(res)
		} else if err = a.fail(err); err == nil {
			return a.document()
		}
		if err != nil {
			return err
		}
		if a.records.passing >= a.h.o.Records { // what else is known of these peers is not waited for
			return a.document()
		}
	}
	if err := context.Cause(ctx); err != nil { // the finder may have ended without a word
		return err
	}
	return a.document()
}

// fail takes note that there may be more records than were found, which is no failure. It returns
// err if it is one: nothing was found that passes, or it is too late to say so.
func (a *answer) fail(err error) error {
	if !errors.Is(err, ipni.ErrIncomplete) || a.keep || a.records.passing == 0 {
		return err
	}
	a.lacks = err
	return nil
}

// take adds a result.
func (a *answer) take(res ipni.Result) (*record, error) {
	if res.Provider.ID == "" {
		return nil, errors.New("routinghttp: a result without a provider")
	}
	if a.records.results >= a.h.o.Results {
		return nil, fmt.Errorf("routinghttp: more than %d results", a.h.o.Results)
	}
	return a.records.add(res), nil
}

// document writes all records at once.
func (a *answer) document() error {
	a.buf = append(a.buf, `{"Providers":[`...)
	for _, r := range a.records.order {
		addrs, ok := a.records.choose.Choose(r.addrs, r.protocols)
		if !ok || a.written == a.h.o.Records {
			continue
		}
		if a.written > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = r.append(a.buf, addrs)
		a.count()
	}
	a.buf = append(a.buf, "]}"...)
	if a.form == formJSON {
		a.w.Header().Set("Content-Length", strconv.Itoa(len(a.buf)))
	}
	return a.send()
}

func (a *answer) count() {
	if a.written++; a.written == 1 {
		a.first = time.Now()
	}
}

// found is what a finder yields, or what it panics with.
type found struct {
	result   ipni.Result
	err      error
	panicked any
}

// find sends what a finder yields, until it ends or ctx does, and closes the channel.
func find(ctx context.Context, finder ipni.Finder, mh multihash.Multihash) <-chan found {
	results := make(chan found)
	send := func(f found) bool {
		select {
		case results <- f:
			return f.err == nil
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(results)
		defer func() { // only in the goroutine of a request is a panic the end of one request
			if v := recover(); v != nil {
				send(found{panicked: v})
			}
		}()
		for res, err := range finder.Find(ctx, mh) {
			if !send(found{result: res, err: err}) {
				return
			}
		}
	}()
	return results
}

// lines writes records as they are found.
func (a *answer) lines(ctx context.Context, finder ipni.Finder, mh multihash.Multihash) error {
	ctx, cancel := context.WithCancel(ctx)
	results := find(ctx, finder, mh)
	defer func() { // the finder ends before the answer does
		cancel()
		for range results {
		}
	}()
	timer := time.NewTimer(lineDelay)
	timer.Stop()
	for {
		select {
		case f, more := <-results:
			if !more {
				if err := context.Cause(ctx); err != nil { // it may have ended without a word
					return err
				}
				return a.flush(true)
			}
			if f.err != nil {
				if err := a.fail(f.err); err != nil {
					return err
				}
				return a.flush(true)
			}
			idle := len(a.waiting) == 0
			full, err := a.line(f)
			if err != nil {
				return err
			}
			if idle && len(a.waiting) > 0 {
				timer.Reset(lineDelay)
			}
			if !full {
				continue
			}
		case <-timer.C:
		}
		timer.Stop()
		if err := a.flush(false); err != nil {
			return err
		}
	}
}

// line has the record of a result wait for the next flush, and reports whether enough do.
func (a *answer) line(f found) (full bool, err error) {
	if f.panicked != nil {
		panic(f.panicked)
	}
	r, err := a.take(f.result)
	if err != nil {
		return false, err
	}
	if r != nil && !r.waits {
		r.waits = true
		a.waiting = append(a.waiting, r)
	}
	return len(a.waiting) >= maxWaits, nil
}

// flush sends the lines that wait. The last call sends the head of an empty answer, too.
func (a *answer) flush(last bool) error {
	for _, r := range a.waiting {
		r.waits = false
		if addrs, ok := a.records.choose.Choose(r.addrs, r.protocols); ok {
			a.buf = append(r.append(a.buf, addrs), '\n')
			a.count()
		}
	}
	a.waiting = a.waiting[:0]
	if len(a.buf) == 0 && !(last && !a.sent) {
		return nil
	}
	return a.send()
}

// cache says for how long the answer may be kept.
func (a *answer) cache() string {
	switch {
	case a.lacks != nil:
		return never
	case a.written == 0:
		return a.h.miss
	}
	return a.h.hit
}

// send sends what is in the buffer, after the head if that is still to come.
func (a *answer) send() error {
	control := http.NewResponseController(a.w)
	control.SetWriteDeadline(time.Now().Add(a.h.o.Stall)) // fails on a writer without deadlines, which cannot stall
	if !a.sent {
		a.sent = true
		header := a.w.Header()
		header.Set("Content-Type", typeJSON)
		if a.form == formLines {
			header.Set("Content-Type", typeLines)
			header.Set("X-Content-Type-Options", "nosniff")
		}
		header.Set("Vary", "Accept")
		header.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		header.Set("Cache-Control", a.cache())
		a.keep = a.cache() != never
		a.w.WriteHeader(http.StatusOK)
	}
	if a.head {
		return nil
	}
	_, err := a.w.Write(a.buf)
	a.buf = a.buf[:0]
	if a.form == formLines && err == nil {
		if err = control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return err
}
