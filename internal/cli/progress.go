package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far long work is: a bar on a terminal, elsewhere a line
// every few seconds. It is safe for concurrent use.
type progress struct {
	mu    sync.Mutex
	what  string
	out   io.Writer
	bar   *mpb.Bar
	bars  *mpb.Progress
	done  int64
	total int64 // 0 while unknown
	begun time.Time
	last  time.Time // of the last line
}

const lineInterval = 10 * time.Second

// progress starts showing what is done. quiet shows nothing.
func (a *app) progress(what string, quiet bool) *progress {
	p := &progress{what: what, out: a.Err, begun: time.Now(), last: time.Now()}
	if quiet {
		p.out = io.Discard
	}
	if isTerminal(p.out) {
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40), mpb.WithAutoRefresh())
		p.bar = p.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(what+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return p
}

// set tells that done bytes of total are done; a total of 0 is unknown.
func (p *progress) set(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
	if p.bar != nil {
		p.bar.SetTotal(total, false)
		p.bar.SetCurrent(done)
		return
	}
	if time.Since(p.last) < lineInterval {
		return
	}
	p.last = time.Now()
	rate := int64(float64(done) / time.Since(p.begun).Seconds())
	if total > 0 {
		fmt.Fprintf(p.out, "%s %s of %s (%d %%), %s/s\n", p.what, size(done), size(total), done*100/total, size(rate))
	} else {
		fmt.Fprintf(p.out, "%s %s, %s/s\n", p.what, size(done), size(rate))
	}
}

// add tells that n more bytes are done.
func (p *progress) add(n int64) {
	p.mu.Lock()
	done, total := p.done+n, p.total
	p.mu.Unlock()
	p.set(done, total)
}

// stop removes the bar.
func (p *progress) stop() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// size writes bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}
