package ipnihttp

import (
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/jsonappend"
)

// What encoding/json makes of the types in go-libipni's find/model, without reflection:
// most of the time of a lookup would go there.

// appendResult appends a model.ProviderResult.
func appendResult(dst []byte, r ipni.Result) []byte {
	dst = append(dst, '{')
	if len(r.ContextID) > 0 {
		dst = append(dst, `"ContextID":`...)
		dst = append(jsonappend.Base64(dst, r.ContextID), ',')
	}
	if len(r.Metadata) > 0 {
		dst = append(dst, `"Metadata":`...)
		dst = append(jsonappend.Base64(dst, r.Metadata), ',')
	}
	dst = append(dst, `"Provider":{"ID":"`...)
	dst = append(dst, r.Provider.ID.String()...) // base58
	dst = append(dst, `","Addrs":[`...)
	for i, a := range r.Provider.Addrs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsonappend.String(dst, a.String())
	}
	return append(dst, "]}}"...)
}

// appendKeyLine appends an encrypted value key as it stands in a line.
func appendKeyLine(dst, sealed []byte) []byte {
	dst = append(dst, `{"EncryptedValueKey":`...)
	return append(jsonappend.Base64(dst, sealed), '}')
}
