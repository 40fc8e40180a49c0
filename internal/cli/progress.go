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

// expect tells how much there is to do; 0 is unknown. What was done is forgotten.
func (p *progress) expect(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = 0, total
	if p.bar != nil && total > 0 {
		p.bar.SetTotal(total, false)
	}
}

// add tells that n more bytes are done. Work that is repeated does not make it
// more than the total.
func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.total > 0 {
		p.done = min(p.done, p.total)
	}
	if p.bar != nil {
		p.bar.SetCurrent(p.done)
		return
	}
	if time.Since(p.last) < lineInterval {
		return
	}
	p.last = time.Now()
	rate := size(int64(float64(p.done) / time.Since(p.begun).Seconds()))
	if p.total > 0 {
		fmt.Fprintf(p.out, "%s %s of %s (%d %%), %s/s\n", p.what, size(p.done), size(p.total), p.done*100/p.total, rate)
	} else {
		fmt.Fprintf(p.out, "%s %s, %s/s\n", p.what, size(p.done), rate)
	}
}

// stop removes the bar. It may be called again, and add after it does no harm.
func (p *progress) stop() {
	p.mu.Lock()
	bar := p.bar
	p.bar, p.out = nil, io.Discard
	p.mu.Unlock()
	if bar != nil {
		bar.Abort(true)
		p.bars.Wait()
	}
}

// isTerminal reports whether stream is a character device other than the one that
// swallows everything.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
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

// count writes a number of things for people.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
