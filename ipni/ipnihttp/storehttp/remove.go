package storehttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// removeFor is how long one request removes. Who asks waits longer than that; what was removed until
// then is removed for good, and another request goes on.
const removeFor = 10 * time.Second

// removal asks for the removal of groups.
type removal struct {
	Provider []byte `json:"provider"`          // 16 bytes
	Context  []byte `json:"context,omitempty"` // 32 bytes, or none for all of the provider
	Before   uint64 `json:"before"`
	Parts    bool   `json:"parts,omitempty"` // who asks understands a removed answer
}

// removed answers who asked for parts, with 200. An empty 202 is the end.
type removed struct {
	Finished bool `json:"finished"`
}

func (h *Handler) remove(x *exchange) error {
	var req removal
	if err := h.small(x, &req); err != nil {
		return err
	}
	var only *dhash.MetadataKey
	if len(req.Context) == dhash.KeySize {
		key := dhash.MetadataKey(req.Context)
		only = &key
	}
	var provider ipni.ProviderTag
	if len(req.Provider) != len(provider) || req.Context != nil && only == nil {
		return wire.Refuse(http.StatusBadRequest, "a provider of %d bytes, a context of %d", len(req.Provider), len(req.Context))
	}
	copy(provider[:], req.Provider)
	ctx, cancel := context.WithTimeout(x.r.Context(), removeFor)
	defer cancel()
	err := h.store.RemoveSealed(ctx, provider, only, req.Before)
	switch {
	case err == nil || ctx.Err() == nil || x.r.Context().Err() != nil:
		return inStore(err)
	case req.Parts && errors.Is(err, ipni.ErrUnfinished):
		x.status = http.StatusOK
		x.w.Header().Set("Content-Type", "application/json")
		x.w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(x.w).Encode(removed{}) // whoever is gone is gone
		return nil
	}
	return &failed{&wire.Error{Status: http.StatusServiceUnavailable, Reason: "the removal is not finished, ask again"}, err}
}

// RemoveSealed removes the groups of a context, or of all of a provider if only is nil, with
// an epoch below before. It asks the node until all of them are removed; if ctx ends after a part of that,
// the error matches [ipni.ErrUnfinished]. A foreign store cannot: that matches [errors.ErrUnsupported].
func (c *Client) RemoveSealed(ctx context.Context, provider ipni.ProviderTag, only *dhash.MetadataKey, before uint64) error {
	if c.foreign {
		return fmt.Errorf("storehttp: remove from %s, a store without groups: %w", c.Name(), errors.ErrUnsupported)
	}
	req := removal{Provider: provider[:], Before: before, Parts: true}
	if only != nil {
		req.Context = only[:]
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	for some := false; ; some = true {
		finished, err := c.removePart(ctx, body)
		if err != nil && some && ctx.Err() != nil {
			err = fmt.Errorf("storehttp: %w: %w", ipni.ErrUnfinished, err)
		}
		if err != nil || finished {
			return err
		}
	}
}

// removePart asks once, and reports whether all was removed.
func (c *Client) removePart(ctx context.Context, body []byte) (finished bool, err error) {
	const path = "/remove"
	res, err := c.caller.Do(ctx, documentCall(http.MethodPost, path, body))
	if err != nil {
		return false, present(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxSmall))
	if res.StatusCode != http.StatusOK {
		return true, nil
	}
	var answer removed
	if err == nil {
		if err = json.Unmarshal(data, &answer); err != nil {
			err = malformed("an answer to a removal: %v", err)
		}
	}
	if err != nil {
		return false, fmt.Errorf("storehttp: post %s%s: %w", c.caller.Name(), path, err)
	}
	return answer.Finished, nil
}
