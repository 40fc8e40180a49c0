package retryafter

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const longest = (1<<31 - 1) * time.Second

func TestParse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		now := time.Now().UTC()
		for value, want := range map[string]time.Duration{
			"":                     0,
			"0":                    0,
			"1":                    time.Second,
			"120":                  2 * time.Minute,
			"007":                  7 * time.Second,
			"2147483647":           longest,
			"2147483648":           longest,
			"99999999999999999999": longest,
			"-1":                   0,
			"+1":                   0,
			"1.5":                  0,
			"1 ":                   0,
			"soon":                 0,
			now.Add(5 * time.Second).Format(http.TimeFormat):                  5 * time.Second, // 4.7 are left
			now.Add(5 * time.Second).Format("Monday, 02-Jan-06 15:04:05 GMT"): 5 * time.Second, // RFC 850
			now.Add(5 * time.Second).Format(time.ANSIC):                       5 * time.Second,
			now.Add(time.Second).Format(http.TimeFormat):                      time.Second,
			now.Format(http.TimeFormat):                                       0,
			now.Add(-time.Hour).Format(http.TimeFormat):                       0,
			strings.Replace(now.Format(http.TimeFormat), "2000", "9999", 1):   longest,
			strings.Replace(now.Format(http.TimeFormat), "GMT", "+0100", 1):   0,
			now.Add(5*time.Second).Format(http.TimeFormat) + ", 5":            0,
			fmt.Sprint(now.Unix() + 5):                                        time.Duration(now.Unix()+5) * time.Second,
		} {
			if got := Parse(value); got != want {
				t.Errorf("%q: %v, want %v", value, got, want)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("120")
	f.Add("Fri, 31 Dec 1999 23:59:59 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := Parse(value); got < 0 || got > longest || got%time.Second != 0 {
			t.Fatalf("%q: %v", value, got)
		}
	})
}
