// Package progress shows how far long work is: a bar on a terminal, elsewhere a
// line every few seconds.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bar is the progress of one piece of work. It is safe for concurrent use.
type Bar struct {
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

// Start starts showing on out what is done, in bytes.
func Start(what string, out io.Writer) *Bar {
	p := &Bar{what: what, out: out, begun: time.Now(), last: time.Now()}
	if IsTerminal(p.out) {
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40), mpb.WithAutoRefresh())
		p.bar = p.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(what+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return p
}

// Expect tells how much there is to do; 0 is unknown. What was done is forgotten.
func (p *Bar) Expect(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = 0, total
	if p.bar != nil && total > 0 {
		p.bar.SetTotal(total, false)
	}
}

// Add tells that n more bytes are done. Work that is repeated does not make it
// more than the total.
func (p *Bar) Add(n int64) {
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
	rate := Size(int64(float64(p.done) / time.Since(p.begun).Seconds()))
	if p.total > 0 {
		fmt.Fprintf(p.out, "%s %s of %s (%d %%), %s/s\n", p.what, Size(p.done), Size(p.total), p.done*100/p.total, rate)
	} else {
		fmt.Fprintf(p.out, "%s %s, %s/s\n", p.what, Size(p.done), rate)
	}
}

// Stop removes the bar. It may be called again, and Add after it does no harm.
func (p *Bar) Stop() {
	p.mu.Lock()
	bar := p.bar
	p.bar, p.out = nil, io.Discard
	p.mu.Unlock()
	if bar != nil {
		bar.Abort(true)
		p.bars.Wait()
	}
}

// IsTerminal reports whether stream is a character device other than the one that
// swallows everything.
func IsTerminal(stream any) bool {
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

// Size writes bytes for people.
func Size(n int64) string {
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
