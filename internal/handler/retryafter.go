package handler

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const longestWait = time.Hour // that a server can ask for

// retryAfter reads a Retry-After: seconds, or a date. asked is false when there is none that can be read. note is for the message, when the server asked
// for more than it gets.
func retryAfter(s string, now time.Time) (after time.Duration, asked bool, note string) {
	s = strings.TrimSpace(s)
	switch n, err := strconv.ParseUint(s, 10, 64); {
	case s == "":
		return 0, false, ""
	case err == nil && n <= uint64(longestWait/time.Second):
		return time.Duration(n) * time.Second, true, ""
	case err == nil, strings.Trim(s, "0123456789") == "": // more than a number can hold
	default:
		at, err := http.ParseTime(s)
		if err != nil {
			return 0, false, ""
		}
		if after = max(at.Sub(now), 0); after <= longestWait {
			return after, true, ""
		}
	}
	return longestWait, true, fmt.Sprintf(" (Retry-After: %.40s; no more than one hour is waited)", s)
}

// headerText is s as it can stand in a header: as it is, or escaped.
func headerText(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return url.QueryEscape(s)
	}
	return s
}
