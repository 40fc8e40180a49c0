package ingesthttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// AnnouncerOptions adjusts an [Announcer]. A nil AnnouncerOptions or a zero field means the default.
type AnnouncerOptions struct {
	wire.CallerOptions
	Extra []byte // sent with each announcement, for certain recipients; default none
}

// Announcer tells indexes of new advertisements.
type Announcer struct {
	targets []target
	extra   []byte
}

type target struct {
	caller *wire.Caller
	path   string
}

// NewAnnouncer returns an Announcer to indexes: URLs of their ingest servers, or with a path
// other than /announce. It does not touch the network.
func NewAnnouncer(indexes []string, o *AnnouncerOptions) (*Announcer, error) {
	if o == nil {
		o = &AnnouncerOptions{}
	}
	a := &Announcer{extra: o.Extra}
	for _, index := range indexes {
		caller, err := wire.NewCaller(index, &o.CallerOptions)
		if err != nil {
			return nil, err
		}
		t := target{caller: caller}
		if u, err := url.Parse(index); err == nil && (u.Path == "" || u.Path == "/") {
			t.path = "/announce"
		}
		a.targets = append(a.targets, t)
	}
	return a, nil
}

// Announce tells all indexes, at the same time, that publisher has an advertisement. The error
// joins those of the indexes that did not take it.
func (a *Announcer) Announce(ctx context.Context, c cid.Cid, publisher peer.AddrInfo) error {
	addrs, err := peer.AddrInfoToP2pAddrs(&publisher)
	if err == nil && len(publisher.Addrs) == 0 { // addrs is the id alone then
		err = errors.New("the publisher has no address")
	}
	if err != nil {
		return fmt.Errorf("ingesthttp: announce %s: %w", c, err)
	}
	body, err := ad.EncodeMessage(ad.Message{CID: c, Addrs: addrs, Extra: a.extra})
	if err != nil {
		return err
	}
	errs := make([]error, len(a.targets))
	var group sync.WaitGroup
	for i, t := range a.targets {
		group.Go(func() { errs[i] = t.send(ctx, body) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (t target) send(ctx context.Context, body []byte) error {
	res, err := t.caller.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: t.path, ContentType: "application/octet-stream", Length: int64(len(body)),
		Body: func() io.Reader { return bytes.NewReader(body) },
	})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Close drops idle connections.
func (a *Announcer) Close() error {
	errs := make([]error, len(a.targets))
	for i, t := range a.targets {
		errs[i] = t.caller.Close()
	}
	return errors.Join(errs...)
}
