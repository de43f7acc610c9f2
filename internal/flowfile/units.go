package flowfile

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads 500ms, 20s, 1m30s, 2h.
func parseDuration(s string) (time.Duration, bool) {
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}

var units = []struct {
	name string
	n    float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// parseSize reads 64MiB, 10MB, 1.5GiB, 4096.
func parseSize(s string) (int64, bool) {
	n := 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, n = strings.TrimSpace(rest), u.n
			break
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0) || f*n < 1 || f*n > math.MaxInt64/2 {
		return 0, false
	}
	return int64(f * n), true
}

// ParseSize reads a size as a flow file writes it.
func ParseSize(s string) (int64, bool) { return parseSize(s) }

// parseRange reads 1..1000.
func parseRange(s string) (first, last int64, ok bool) {
	a, b, cut := strings.Cut(s, "..")
	if !cut {
		return 0, 0, false
	}
	first, err1 := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
	last, err2 := strconv.ParseInt(strings.TrimSpace(b), 10, 64)
	return first, last, err1 == nil && err2 == nil
}

// parseStatus reads 2xx, 201, 200-204.
func parseStatus(s string) (StatusRange, bool) {
	s = strings.TrimSpace(s)
	if len(s) == 3 && (s[1:] == "xx" || s[1:] == "XX") && s[0] >= '1' && s[0] <= '5' {
		n := int(s[0]-'0') * 100
		return StatusRange{n, n + 99}, true
	}
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	return StatusRange{from, to}, err1 == nil && err2 == nil && from >= 100 && to <= 599 && from <= to
}

// parseRate reads 200/s, 600/min, 5/hour: starts a second.
func parseRate(s string) (float64, bool) {
	n, per, ok := strings.Cut(s, "/")
	f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
	secs, known := map[string]float64{"s": 1, "sec": 1, "second": 1, "min": 60, "m": 60, "minute": 60, "h": 3600, "hour": 3600}[strings.TrimSpace(per)]
	if !ok || !known || err != nil || !(f > 0) || math.IsInf(f, 0) {
		return 0, false
	}
	return f / secs, true
}

// parseBackoff reads 1s..60s, or one pause for both.
func parseBackoff(s string) (b Backoff, ok bool) {
	first, longest, two := strings.Cut(s, "..")
	if b.First, ok = parseDuration(strings.TrimSpace(first)); !ok {
		return b, false
	}
	b.Longest = b.First
	if two {
		b.Longest, ok = parseDuration(strings.TrimSpace(longest))
	}
	return b, ok && b.Longest >= b.First
}

// parsePercent reads 5% as 0.05.
func parsePercent(s string) (float64, bool) {
	n, ok := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
	return f / 100, ok && err == nil && f > 0 && f <= 100
}

// parseWorkers reads 4, cores, cores-1, 75%.
func parseWorkers(s string) (w Workers, ok bool) {
	if share, ok := parsePercent(s); ok {
		return Workers{Share: share}, true
	}
	rest, ok := strings.CutPrefix(s, "cores")
	if !ok {
		return w, false
	}
	w.Share = 1
	if rest == "" {
		return w, true
	}
	n, err := strconv.Atoi(strings.ReplaceAll(rest, " ", ""))
	w.Plus = n
	return w, err == nil && (rest[0] == '-' || rest[0] == '+' || rest[0] == ' ')
}

// count is how many processes that are on a machine with so many cores.
func (w Workers) count(cores int) int {
	return max(1, int(math.Round(float64(cores)*w.Share))+w.Plus)
}
