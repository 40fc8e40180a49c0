package state

import (
	"bytes"

	"github.com/ipfs/go-cid"
)

// Encode returns the value of the row.
func (p *Publisher) Encode() []byte {
	w := begin()
	w.num(uint64(len(p.Addrs)))
	for _, a := range p.Addrs {
		w.bytes(a)
	}
	w.cid(p.Head)
	w.time(p.HeadAt)
	w.time(p.ContactAt)
	w.time(p.WantedAt)
	w.time(p.FailedAt)
	w.text(p.Error)
	w.num(p.Tries)
	w.bits(p.Inactive, p.Damaged)
	w.num(p.Ads)
	w.num(p.Multihash)
	w.num(p.Skips)
	w.cid(p.LastAd)
	w.time(p.LastAdTime)
	return w
}

// DecodePublisher reads the row of a publisher. Its ID is in the key.
func DecodePublisher(data []byte) (Publisher, error) {
	r := read("publisher", data)
	var p Publisher
	for range r.upTo(maxAddrs) {
		p.Addrs = append(p.Addrs, bytes.Clone(r.bytes(maxAddr)))
	}
	p.Head = r.cid()
	p.HeadAt, p.ContactAt, p.WantedAt, p.FailedAt = r.time(), r.time(), r.time(), r.time()
	p.Error, p.Tries = r.text(), r.num()
	r.bits(&p.Inactive, &p.Damaged)
	p.Ads, p.Multihash, p.Skips = r.num(), r.num(), r.num()
	p.LastAd, p.LastAdTime = r.cid(), r.time()
	return p, r.end()
}

// The versions of gaps: the one before, which had the fields of [Progress], is read too.
const (
	resuming   = 1
	gapVersion = 2
)

// Encode returns the value of the row.
func (g *Gap) Encode() []byte {
	w := writer{gapVersion}
	w.num(g.Seq)
	w.cid(g.From)
	w.num(g.Depth)
	w.cid(g.Stop)
	w.num(g.Limit)
	w.bits(g.Resync, g.Parked, g.Anew)
	w.num(g.Segments)
	w.num(g.Size)
	w.num(g.Done)
	w.cid(g.Next)
	w.text(g.Broken)
	w.text(g.Cause)
	w.num(g.Tries)
	w.time(g.RetryAt)
	w.time(g.Since)
	return w
}

// DecodeGap reads the row of a gap.
func DecodeGap(data []byte) (Gap, error) {
	r := read("gap", data, resuming, gapVersion)
	g := Gap{Seq: r.upTo(MaxDepth), From: r.cid(), Depth: r.upTo(MaxDepth), Stop: r.cid(), Limit: r.num()}
	r.bits(&g.Resync, &g.Parked, &g.Anew)
	g.Segments, g.Size, g.Done, g.Next, g.Broken = r.num(), r.upTo(maxSegment), r.num(), r.cid(), r.text()
	if g.Done > g.Size {
		r.fail()
	}
	if r.err == nil && r.all[0] == resuming { // how far entries were put, which are put again
		r.cid()
		r.num()
		r.num()
		r.num()
	}
	g.Cause, g.Tries, g.RetryAt, g.Since = r.text(), r.num(), r.time(), r.time()
	return g, r.end()
}

// Encode returns the value of the row.
func (p *Progress) Encode() []byte {
	w := begin()
	w.num(uint64(len(p.Left)))
	for _, c := range p.Left {
		w.cid(c)
	}
	w.num(p.Epoch)
	w.num(p.Blocks)
	w.num(p.Multihashes)
	w.num(p.Bytes)
	return w
}

// DecodeProgress reads how far entries are put.
func DecodeProgress(data []byte) (Progress, error) {
	r := read("progress", data)
	p := Progress{Left: r.cids(maxLeft)}
	p.Epoch, p.Blocks, p.Multihashes, p.Bytes = r.num(), r.num(), r.num(), r.num()
	return p, r.end()
}

// EncodeSegment returns the list of a segment.
func EncodeSegment(ads []cid.Cid) []byte {
	w := begin()
	w.num(uint64(len(ads)))
	for _, c := range ads {
		w.cid(c)
	}
	return w
}

// DecodeSegment reads the list of a segment.
func DecodeSegment(data []byte) ([]cid.Cid, error) {
	r := read("segment", data)
	ads := r.cids(maxSegment)
	return ads, r.end()
}

// Encode returns the value of the row. The epoch is written as its distance from the
// order, plus one, which is short.
func (a Ad) Encode() []byte {
	w := begin()
	w.num(uint64(a.Status))
	w.bytes(a.Tag[:])
	w.num(a.Order)
	epoch := uint64(0)
	if a.Epoch != 0 {
		epoch = a.Order - a.Epoch + 1
	}
	w.num(epoch)
	w.num(a.Count)
	w.time(a.At)
	w.text(a.Reason)
	return w
}

// DecodeAd reads the row of an advertisement.
func DecodeAd(data []byte) (Ad, error) {
	r := read("advertisement", data)
	a := Ad{Status: Status(r.upTo(uint64(Resyncing))), Tag: r.tag(), Order: r.num()}
	if epoch := r.upTo(a.Order); epoch != 0 {
		a.Epoch = a.Order - epoch + 1
	}
	a.Count, a.At, a.Reason = r.num(), r.time(), r.text()
	return a, r.end()
}

// Encode returns the value of the row.
func (c Context) Encode() []byte {
	w := begin()
	w.num(c.RemovedAt)
	w.num(c.MetadataAt)
	w.num(c.Epoch)
	w.num(c.EpochLast)
	w.bytes(c.Tag[:])
	return w
}

// DecodeContext reads the state of a context.
func DecodeContext(data []byte) (Context, error) {
	r := read("context", data)
	c := Context{RemovedAt: r.num(), MetadataAt: r.num(), Epoch: r.num(), EpochLast: r.num(), Tag: r.tag()}
	return c, r.end()
}

// Encode returns the value of the row.
func (t Retry) Encode() []byte {
	w := begin()
	w.bits(t.Deferred)
	w.cid(t.CID)
	w.num(t.Order)
	w.num(t.Tries)
	w.time(t.First)
	w.time(t.Due)
	w.text(t.Cause)
	return w
}

// DecodeRetry reads a retry.
func DecodeRetry(data []byte) (Retry, error) {
	r := read("retry", data)
	var t Retry
	r.bits(&t.Deferred)
	t.CID, t.Order, t.Tries, t.First, t.Due, t.Cause = r.cid(), r.num(), r.num(), r.time(), r.time(), r.text()
	return t, r.end()
}
