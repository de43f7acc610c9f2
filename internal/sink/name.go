package sink

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"unicode/utf8"
)

const (
	outcomesFile = "outcomes.jsonl"
	partFile     = ".tandem-part"   // a file that is being written
	forgetFile   = ".tandem-forget" // see forget
	longestPart  = 200              // bytes of a name between slashes; file systems allow 255
	longestName  = 1000             // bytes of a whole name; the system allows 4096 with the directory
	reserved     = "%."             // stands before a name that the sink needs for itself
)

// safeName makes a name below the directory of any text: what would leave the directory, or cannot be a file's name, is written as %XX, and what
// is too long is cut and told apart by a hash. Slashes make directories.
func safeName(s string) string {
	parts := strings.Split(s, "/")
	if len(s) > longestName {
		parts = []string{strings.ReplaceAll(s, "/", "%2F")}
	}
	var b strings.Builder
	for i, p := range parts {
		last := i == len(parts)-1
		switch {
		case p == "" && len(parts) == 1:
			b.WriteString("%00")
		case p == "": // a slash that has nothing before it, or nothing behind
			if last && i > 0 {
				name := strings.TrimSuffix(b.String(), "/")
				return name + "%2F"
			}
			b.WriteString("%2F")
			continue
		case p == ".":
			b.WriteString("%2E")
		case p == "..":
			b.WriteString("%2E%2E")
		default:
			b.WriteString(short(strings.ReplaceAll(p, "\x00", "%00")))
		}
		if !last {
			b.WriteByte('/')
		}
	}
	switch name := b.String(); name {
	case outcomesFile, partFile, forgetFile:
		return reserved + name
	default:
		return name
	}
}

// short cuts a part of a name that no file system would take.
func short(part string) string {
	if len(part) <= longestPart {
		return part
	}
	sum := sha256.Sum256([]byte(part))
	ext := path.Ext(part)
	if len(ext) > 16 {
		ext = ""
	}
	cut := longestPart - 33 - len(ext)
	for cut > longestPart/2 && !utf8.RuneStart(part[cut]) {
		cut--
	}
	return part[:cut] + "~" + hex.EncodeToString(sum[:16]) + ext
}

// otherName is the name for an item whose own belongs to another item: the same for the same id in every run.
func otherName(name, id string, try int) string {
	sum := sha256.Sum256([]byte(id))
	ext := path.Ext(name)
	if ext == path.Base(name) {
		ext = "" // .profile
	}
	return strings.TrimSuffix(name, ext) + "~" + hex.EncodeToString(sum[:4+4*try]) + ext
}

// flatName is a name without directories.
func flatName(name string) string { return short(strings.ReplaceAll(name, "/", "%2F")) }
