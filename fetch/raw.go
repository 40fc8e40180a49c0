package fetch

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// newBlock names verified data. The codec is not the gateway's to say, so it is raw.
func newBlock(d digest.Digest, data []byte) block.Block {
	return block.Block{CID: d.CID(cid.Raw), Data: data}
}

// raw fetches one block from the first gateway that delivers it intact.
func (c *Client) raw(ctx context.Context, d digest.Digest) ([]byte, error) {
	var data []byte
	err := c.each(ctx, d.String(), func(g *server) error {
		var err error
		data, err = c.rawFrom(ctx, g, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.o.Trace.Block(d, len(data))
	return data, nil
}

func (c *Client) rawFrom(ctx context.Context, g *server, d digest.Digest) ([]byte, error) {
	b, err := c.get(ctx, g, "/ipfs/"+d.String(), url.Values{"format": {"raw"}}, mediaRaw)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	whole := b.limit(c.o.BlockTimeout)
	defer whole.Stop()
	if b.size > block.MaxSize {
		return nil, fmt.Errorf("answer of %d bytes: %w", b.size, block.ErrTooLarge)
	}
	data, err := readAll(b, b.size)
	if err != nil {
		return nil, err
	}
	return data, d.Verify(data)
}

// readAll reads a body of the announced size, or of any size up to a block's.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size >= 0 {
		data := make([]byte, size)
		_, err := io.ReadFull(r, data)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return data, err
	}
	data, err := io.ReadAll(io.LimitReader(r, block.MaxSize+1))
	if err == nil && len(data) > block.MaxSize {
		err = fmt.Errorf("endless answer: %w", block.ErrTooLarge)
	}
	return data, err
}
