package obs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/kv"
)

// storeMetrics are those of one kind of store, by the store's name and operation.
type storeMetrics struct {
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec
	bytes   *prometheus.CounterVec
}

func newStoreMetrics(f factory, kind, help string, least float64) storeMetrics {
	return storeMetrics{
		f.histograms(kind+"_seconds", help, least, "store", "op"),
		f.counters(kind+"_errors_total", "Operations that failed; absence is no failure.", "store", "op"),
		f.counters(kind+"_bytes_total", "Bytes of values and objects.", "store", "direction"),
	}
}

// op is one operation of one store, with its series at hand.
type op struct {
	seconds prometheus.Observer
	errors  prometheus.Counter
}

func (s storeMetrics) op(store, name string) op {
	return op{s.seconds.WithLabelValues(store, name), s.errors.WithLabelValues(store, name)}
}

// done records an operation that began at start.
func (o op) done(start time.Time, err error) {
	o.seconds.Observe(time.Since(start).Seconds())
	o.failed(err)
}

func (o op) failed(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, context.Canceled) {
		o.errors.Inc()
	}
}

// KV returns s with its operations counted under name.
func (m *Metrics) KV(name string, s kv.Store) kv.Store {
	return &keys{
		inner: s,
		get:   m.kv.op(name, "get"), scan: m.kv.op(name, "scan"), batch: m.kv.op(name, "batch"), update: m.kv.op(name, "update"),
		read: m.kv.bytes.WithLabelValues(name, "read"), written: m.kv.bytes.WithLabelValues(name, "written"),
	}
}

type keys struct {
	inner                    kv.Store
	get, scan, batch, update op
	read, written            prometheus.Counter
}

func (k *keys) Get(ctx context.Context, key []byte) ([]byte, error) {
	start := time.Now()
	value, err := k.inner.Get(ctx, key)
	k.get.done(start, err)
	k.read.Add(float64(len(value)))
	return value, err
}

func (k *keys) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		start, first, bytes := time.Now(), true, 0
		defer func() { k.read.Add(float64(bytes)) }()
		for pair, err := range k.inner.Scan(ctx, r) {
			if first {
				k.scan.done(start, err)
				first = false
			} else {
				k.scan.failed(err)
			}
			bytes += len(pair.Key) + len(pair.Value)
			if !yield(pair, err) {
				return
			}
		}
		if first {
			k.scan.done(start, nil)
		}
	}
}

func (k *keys) Batch(ctx context.Context, ops []kv.Op) error {
	start, bytes := time.Now(), 0
	err := k.inner.Batch(ctx, ops)
	k.batch.done(start, err)
	for _, op := range ops {
		bytes += len(op.Key) + len(op.Value)
	}
	if err == nil {
		k.written.Add(float64(bytes))
	}
	return err
}

func (k *keys) Update(ctx context.Context, key []byte, f func([]byte) ([]byte, error)) error {
	start := time.Now()
	err := k.inner.Update(ctx, key, f)
	k.update.done(start, err)
	return err
}

// Opener returns o with the time of its planning counted, by encoding.
func (m *Metrics) Opener(o block.Opener) block.Opener {
	return &opener{o, m.plan.WithLabelValues(string(block.EncodingRaw)), m.plan.WithLabelValues(string(block.EncodingCAR))}
}

type opener struct {
	inner    block.Opener
	raw, car prometheus.Observer
}

// Open leaves the body as it is: it may have more methods than are known here.
func (o *opener) Open(ctx context.Context, sel block.Selection) (block.Body, error) {
	start := time.Now()
	body, err := o.inner.Open(ctx, sel)
	seconds := o.car
	if sel.Encoding == block.EncodingRaw {
		seconds = o.raw
	}
	seconds.Observe(time.Since(start).Seconds())
	return body, err
}

// Blob returns g with its operations counted under name. What it implements of
// [blob.Stater], [blob.Store] and [blob.Drafter] the result implements too.
func (m *Metrics) Blob(name string, g blob.Getter) blob.Getter {
	switch s := g.(type) {
	case blob.Store:
		return m.BlobStore(name, s)
	case blob.Stater:
		return &statGetter{m.getter(name, g), stater{s, m.blob.op(name, "stat")}}
	}
	return m.getter(name, g)
}

func (m *Metrics) getter(name string, g blob.Getter) *getter {
	return &getter{
		inner: g, get: m.blob.op(name, "get"), readOp: m.blob.op(name, "read"),
		read: m.blob.bytes.WithLabelValues(name, "read"),
	}
}

// BlobStore is [Metrics.Blob] for what can also be written.
func (m *Metrics) BlobStore(name string, s blob.Store) blob.Store {
	counted := &objects{
		getter: m.getter(name, s),
		stater: stater{s, m.blob.op(name, "stat")},
		inner:  s, put: m.blob.op(name, "put"), list: m.blob.op(name, "list"), delete: m.blob.op(name, "delete"),
		written: m.blob.bytes.WithLabelValues(name, "written"),
	}
	if d, ok := s.(blob.Drafter); ok {
		return &draftObjects{counted, d, m.blob.op(name, "commit")}
	}
	return counted
}

type getter struct {
	inner       blob.Getter
	get, readOp op
	read        prometheus.Counter
}

func (g *getter) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	start := time.Now()
	obj, err := g.inner.Get(ctx, key, off, n)
	g.get.done(start, err)
	if err != nil {
		return nil, err
	}
	counted := &object{Object: obj, getter: g}
	if w, ok := obj.(io.WriterTo); ok {
		return &writerToObject{counted, w}, nil
	}
	return counted, nil
}

// object counts the bytes that are read from it when it is closed.
type object struct {
	blob.Object
	getter *getter
	bytes  int64
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	o.bytes += int64(n)
	if err != nil && err != io.EOF {
		o.getter.readOp.failed(err)
	}
	return n, err
}

func (o *object) Close() error {
	o.getter.read.Add(float64(o.bytes))
	o.bytes = 0
	return o.Object.Close()
}

// writerToObject is an object that can be sent without copying, and still is.
type writerToObject struct {
	*object
	writerTo io.WriterTo
}

// WriteTo counts no errors: most are the receiver's.
func (o *writerToObject) WriteTo(w io.Writer) (int64, error) {
	n, err := o.writerTo.WriteTo(w)
	o.bytes += n
	return n, err
}

type stater struct {
	inner blob.Stater
	stat  op
}

func (s stater) Stat(ctx context.Context, key string) (blob.Info, error) {
	start := time.Now()
	info, err := s.inner.Stat(ctx, key)
	s.stat.done(start, err)
	return info, err
}

type statGetter struct {
	*getter
	stater
}

type objects struct {
	*getter
	stater
	inner             blob.Store
	put, list, delete op
	written           prometheus.Counter
}

func (o *objects) Put(ctx context.Context, key string, r io.Reader) error {
	start, counted := time.Now(), &countingReader{r: r}
	err := o.inner.Put(ctx, key, counted)
	o.put.done(start, err)
	o.written.Add(float64(counted.n))
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (o *objects) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		start, first := time.Now(), true
		for info, err := range o.inner.List(ctx, prefix) {
			if first {
				o.list.done(start, err)
				first = false
			} else {
				o.list.failed(err)
			}
			if !yield(info, err) {
				return
			}
		}
		if first {
			o.list.done(start, nil)
		}
	}
}

func (o *objects) Delete(ctx context.Context, key string) error {
	start := time.Now()
	err := o.inner.Delete(ctx, key)
	o.delete.done(start, err)
	return err
}

type draftObjects struct {
	*objects
	drafter blob.Drafter
	commit  op
}

func (o *draftObjects) Draft(ctx context.Context) (blob.Draft, error) {
	d, err := o.drafter.Draft(ctx)
	if err != nil {
		o.commit.failed(err)
		return nil, err
	}
	return &draft{d, o}, nil
}

// draft counts what is written and how long it takes to make it durable.
type draft struct {
	blob.Draft
	store *draftObjects
}

func (d *draft) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.Draft.WriteAt(p, off)
	d.store.written.Add(float64(n))
	return n, err
}

func (d *draft) Commit(ctx context.Context, key string) error {
	start := time.Now()
	err := d.Draft.Commit(ctx, key)
	d.store.commit.done(start, err)
	return err
}
