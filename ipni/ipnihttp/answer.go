package ipnihttp

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/jsonappend"
)

const (
	startBuffer = 4 << 10
	fullBuffer  = 32 << 10 // is sent, even of JSON
	keptBuffer  = 64 << 10 // the largest that is kept for another answer

	// lineDelay is how long lines wait for others. It costs no reader anything, and saves
	// a system call for each line of an answer that is there at once.
	lineDelay = time.Millisecond
)

// kind is what results are of.
type kind struct {
	outer, inner string // names of the list of multihashes, and of the results of one
}

// answer writes results of one multihash or many as they come. Nothing is sent
// before there is a result, so that a failure until then has a status of its own. Lines are sent
// after a moment; JSON, which nobody can read in parts, when the buffer is full.
type answer struct {
	w     http.ResponseWriter
	kind  kind
	form  form
	batch bool
	head  bool // of a HEAD request
	reply func(http.Header, *answer) (keep bool)

	hashes int // that had a result
	items  int // results
	first  time.Time
	timed  bool
	within int // results of this multihash

	mu    sync.Mutex // of what follows, which the timer uses
	buf   []byte
	sent  bool
	keep  bool  // it was sent that caches may keep the answer
	lacks error // matches ipni.ErrIncomplete: results that somebody else may have
	ended bool
	err   error // of writing
	timer *time.Timer
	armed bool // since the answer began
	fired bool // since it was armed
	loose bool // the timer may still come
}

// item appends one result of mh by f. It reports whether more are wanted.
func (a *answer) item(mh multihash.Multihash, f func(dst []byte) []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.items == 0 && a.timed {
		a.first = time.Now()
	}
	a.items++
	a.within++
	single := a.form == formLines && !a.batch
	if !single {
		a.separate(mh)
	}
	a.buf = f(a.buf)
	if single {
		a.buf = append(a.buf, '\n')
		a.arm()
	}
	if len(a.buf) >= fullBuffer {
		a.flush()
	}
	return a.err == nil && !a.head
}

// separate writes what stands between the results of a document.
func (a *answer) separate(mh multihash.Multihash) {
	if a.within > 1 {
		a.buf = append(a.buf, ',')
		return
	}
	a.hashes++
	switch {
	case a.form == formLines:
	case a.hashes == 1:
		a.buf = append(append(append(a.buf, `{"`...), a.kind.outer...), `":[`...)
	default:
		a.buf = append(a.buf, ',')
	}
	a.buf = jsonappend.Base64(append(a.buf, `{"Multihash":`...), mh)
	a.buf = append(append(append(a.buf, `,"`...), a.kind.inner...), `":[`...)
}

// next ends the results of a multihash.
func (a *answer) next() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.within > 0 && (a.batch || a.form == formJSON) {
		a.buf = append(a.buf, "]}"...)
		if a.form == formLines {
			a.buf = append(a.buf, '\n')
			a.arm()
		}
	}
	a.within = 0
}

// fail takes note that there may be more results of a multihash than came, which is no
// failure. It returns err if it is one: nothing came, or it is too late to say so.
func (a *answer) fail(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.within == 0 || a.keep || !errors.Is(err, ipni.ErrIncomplete) {
		return err
	}
	a.lacks = err
	return nil
}

// arm sees to it that lines are sent soon.
func (a *answer) arm() {
	if a.head {
		return
	}
	switch {
	case a.timer == nil:
		a.timer = time.AfterFunc(lineDelay, a.tick)
	case !a.armed || a.fired:
		a.timer.Reset(lineDelay)
	}
	a.armed, a.fired = true, false
}

func (a *answer) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fired = true
	if !a.ended {
		a.flush()
		if f, ok := a.w.(http.Flusher); ok && a.err == nil {
			f.Flush()
		}
	}
}

// flush sends what is there. It must not be called for HEAD.
func (a *answer) flush() {
	if len(a.buf) == 0 || a.err != nil || a.head {
		return
	}
	if !a.sent {
		a.sent = true
		a.keep = a.reply(a.w.Header(), a)
	}
	_, a.err = a.w.Write(a.buf)
	a.buf = a.buf[:0]
}

// broken reports whether nobody takes more.
func (a *answer) broken() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err != nil
}

// end completes the answer, if it has results. It reports whether nothing but the
// status of what failed may follow: false if something was sent already, or all of it.
func (a *answer) end(failed bool) (open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.armed {
		a.loose = !a.timer.Stop() && !a.fired
	}
	if failed || a.items == 0 {
		return !a.sent
	}
	if a.form == formJSON {
		a.buf = append(a.buf, "]}"...)
	}
	if a.head {
		a.reply(a.w.Header(), a)
		return false
	}
	if !a.sent {
		a.w.Header()["Content-Length"] = []string{strconv.Itoa(len(a.buf))}
	}
	a.flush()
	return false
}

// answers keeps them for other requests.
type answers struct{ pool sync.Pool }

func (p *answers) get() *answer {
	if a, ok := p.pool.Get().(*answer); ok {
		return a
	}
	return &answer{buf: make([]byte, 0, startBuffer)}
}

// put takes an answer back, or the buffer of one whose timer may still see it.
func (p *answers) put(a *answer) {
	a.mu.Lock()
	buf := a.buf[:0]
	a.buf = nil
	a.mu.Unlock()
	switch {
	case cap(buf) > keptBuffer:
	case a.loose:
		p.pool.Put(&answer{buf: buf})
	default:
		*a = answer{buf: buf, timer: a.timer}
		p.pool.Put(a)
	}
}
