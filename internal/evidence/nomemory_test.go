package evidence

import "testing"

// As they came from programs under a limit of memory.
func TestWantOfMemoryIsUnderstood(t *testing.T) {
	for text, yes := range map[string]bool{
		"c: grow: Cannot allocate memory\n": true,
		"sort: memory exhausted\n":          true,
		"Out of memory!\npanic: fold_constants JMPENV_PUSH returned 2 at -e line 1.\n":                 true,
		"awk: run time error: out of memory\n\tFILENAME=\"\" FNR=0 NR=0\n":                             true,
		"bash: xrealloc: cannot allocate 50810880 bytes\n":                                             true,
		"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n": true,
		"Fatal Python error: _PyErr_NoMemory: Out of memory and PyExc_MemoryError is not initialized yet\nPython runtime state: preinitialized\n\nCurrent thread 0x00007f3188644b80 (most recent call first):\n  <no Python frame>\n": true,
		"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nOSError: [Errno 12] Cannot allocate memory: '/x'\n":                                                                                                       true,
		"it said Cannot allocate memory, then went on\nno such row\n": false,
		"Cannot allocate memory\n1\n2\n3\n":                           false,
		"worker was out of memory once\n":                             false,
	} {
		e := exit1
		if text[0] == 't' || text[0] == 'F' {
			e = aborted
		}
		if s := Find(text, e); (s != nil && s.Kind == "out_of_memory") != yes {
			t.Errorf("%q: %+v, out of memory %v", text, s, yes)
		}
	}
	if s := Find("Cannot allocate memory\n", Exit{}); s != nil {
		t.Errorf("a program that ended well: %+v", s)
	}
}
