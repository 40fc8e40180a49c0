package accept

import "strings"

// token reports whether s is a token of RFC 9110, section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0:
			return false
		}
	}
	return s != ""
}

// cut cuts s at the first sep outside of a quoted string.
func cut(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// param cuts the first parameter off s. Spaces around "=" are borne, as is a parameter without
// a value.
func param(s string) (name, value, rest string) {
	s, rest = cut(s, ';')
	name, value, _ = strings.Cut(s, "=")
	return strings.TrimSpace(name), unquote(strings.TrimSpace(value)), rest
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// weight reads a qvalue (RFC 9110, section 12.4.2), 0 to 1 with at most three decimals, in
// thousandths. ".2" is 0.2: Java's own client has sent that for decades.
func weight(s string) (int, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole == "" && decimals != "" {
		whole = "0"
	}
	if len(decimals) > 3 || whole != "0" && whole != "1" {
		return 0, false
	}
	q := 0
	for i := range 3 {
		q *= 10
		if i < len(decimals) {
			if decimals[i] < '0' || decimals[i] > '9' {
				return 0, false
			}
			q += int(decimals[i] - '0')
		}
	}
	if whole == "1" {
		return 1000, q == 0
	}
	return q, true
}
