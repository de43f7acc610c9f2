package evidence

import (
	"regexp"

	"tandem"
)

// What programs say, as their last line but one or two, when they get no memory: strerror(ENOMEM) and the words of awk, bash, perl, sort and others.
var noMemoryWords = regexp.MustCompile(`(?:^|: )(?:[Cc]annot allocate memory|virtual memory exhausted|memory exhausted|(?:run time error: )?[Oo]ut of memory!?|x(?:m|re)alloc: cannot allocate \d+ bytes)$`)

// noMemory recognises programs without a runtime that ended themselves for want of memory. It stands last.
func noMemory(lines []string, e Exit) *hit {
	if e.Code <= 0 {
		return nil
	}
	for i := last(lines); i >= max(0, last(lines)-2); i-- {
		if noMemoryWords.MatchString(lines[i]) {
			return &hit{Stack: tandem.Stack{Language: "c", Kind: "out_of_memory", Message: lines[i]}, from: i, to: i + 1}
		}
	}
	return nil
}
