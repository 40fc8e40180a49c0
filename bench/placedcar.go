package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// placedCAR measures the CAR of a file that is indexed where it is, beside the CAR of
// the same file in packs: both warm, the file old enough for its times to be believed.
// After that the file is touched, so that a node has to hash it on every read.
func placedCAR(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	d, err := b.dataset(ctx, mib)
	if err != nil {
		return err
	}
	home, err := b.newHome(ctx, b.work)
	if err != nil {
		return err
	}
	f, err := b.runHashstreamPlace(ctx, home, d.source, d.leaf, rootsAre(b.work))
	if err != nil {
		return err
	}
	if f.stdout != d.root.String() {
		return fmt.Errorf("says %q, want %s", f.stdout, d.root)
	}
	if err := b.waitOld(ctx, d.source); err != nil {
		return err
	}
	err = b.inTurn(ctx, []string{sysHashstream, sysPacked}, func(_ int, system string) error {
		in := home
		if system == sysPacked {
			in = d.home
		}
		_, warm, err := b.serveHome(ctx, d, in, rootsAre(b.work))
		b.record("place-car", system, sample{warm.mibPerSecond(), warm.cpuPerGiB()})
		return err
	})
	if err != nil {
		return err
	}
	return b.inTurn(ctx, []string{sysHashstream, sysBound}, func(_ int, system string) error {
		if system == sysBound {
			b.record("place-young", system, sample{Value: hashRate(1, time.Second/2) * float64(cores())})
			return nil
		}
		if err := os.Chmod(d.source, 0o644); err != nil { // changes nothing but the time of the last change
			return err
		}
		_, warm, err := b.serveHome(ctx, d, home, rootsAre(b.work))
		b.record("place-young", system, sample{warm.mibPerSecond(), warm.cpuPerGiB()})
		return err
	})
}

// waitOld waits until a file was last changed as long ago as scale.settle says.
func (b *bench) waitOld(ctx context.Context, path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no time of the last status change")
	}
	if b.scale.settle == 0 {
		b.note("The file in place was not old enough for its times to be believed; it was hashed on every read.")
		return nil
	}
	wait := time.Until(time.Unix(st.Ctim.Unix()).Add(b.scale.settle + time.Second))
	if wait <= 0 {
		return nil
	}
	b.logf("  waiting %s until the file is old enough", wait.Round(time.Second))
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveHome starts a node and measures the CAR of d: the first answer, and those after it.
func (b *bench) serveHome(ctx context.Context, d *dataset, home string, env ...string) (first, warm measured, err error) {
	s, err := b.startHashstream(ctx, home, env...)
	if err != nil {
		return first, warm, err
	}
	defer s.stop()
	r := &receiver{buf: make([]byte, mib), copies: b.copies}
	one := func() (int64, error) { return d.carSize, r.get(ctx, s.addr, d.path(), d.carSize) }
	if first, err = b.load(s, 1, one); err == nil {
		warm, err = b.load(s, 0, one)
	}
	if err == nil {
		err = b.checkCAR(ctx, s, d)
	}
	if log := lastLine([]byte(s.log.String())); err != nil && log != "" {
		err = fmt.Errorf("%w; its log ends: %s", err, log)
	}
	return first, warm, err
}

// checkCAR compares a server's CAR with d's.
func (b *bench) checkCAR(ctx context.Context, s *server, d *dataset) error {
	sum, err := bodySum(ctx, s.addr, d.path())
	if err == nil && sum != d.carSum {
		err = errors.New("sends other bytes than the prepared CAR")
	}
	return err
}

func decodeJSON(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}
