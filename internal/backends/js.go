package backends

import (
	"context"
	"io"
	"strings"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/index/jsstore"
)

// openJS opens a bucket with packs that hash-stream (JavaScript) names: js+s3://….
func openJS(ctx context.Context, where string, o Options) (blob.Getter, io.Closer, error) {
	g, closer, err := openCloud(ctx, strings.TrimPrefix(where, "js+"), o)
	if err != nil {
		return nil, nil, err
	}
	return jsstore.NewPacks(g.(blob.Store), &jsstore.PackOptions{Layout: jsstore.S3}), closer, nil
}
