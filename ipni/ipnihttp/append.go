package ipnihttp

import (
	"encoding/base64"
	"encoding/json"

	"github.com/hashstream/hashstream/ipni"
)

// What encoding/json makes of the types in go-libipni's find/model, without reflection:
// most of the time of a lookup would go there.

// appendBytes appends b as a JSON string in base64.
func appendBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				return append(dst, `""`...)
			}
			return append(dst, text...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendResult appends a model.ProviderResult.
func appendResult(dst []byte, r ipni.Result) []byte {
	dst = append(dst, '{')
	if len(r.ContextID) > 0 {
		dst = append(dst, `"ContextID":`...)
		dst = append(appendBytes(dst, r.ContextID), ',')
	}
	if len(r.Metadata) > 0 {
		dst = append(dst, `"Metadata":`...)
		dst = append(appendBytes(dst, r.Metadata), ',')
	}
	dst = append(dst, `"Provider":{"ID":"`...)
	dst = append(dst, r.Provider.ID.String()...) // base58
	dst = append(dst, `","Addrs":[`...)
	for i, a := range r.Provider.Addrs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, a.String())
	}
	return append(dst, "]}}"...)
}

// appendKeyLine appends an encrypted value key as it stands in a line.
func appendKeyLine(dst, sealed []byte) []byte {
	dst = append(dst, `{"EncryptedValueKey":`...)
	return append(appendBytes(dst, sealed), '}')
}
