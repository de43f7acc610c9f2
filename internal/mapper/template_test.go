package mapper

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What GNU parallel 20221122 makes of these, line by line.
func TestPlaceholdersAreThoseOfParallel(t *testing.T) {
	tm, err := Parse([]string{"echo", "{}", "{.}", "{/}", "{//}", "{/.}", "{#}", "{%}"})
	if err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string][]string{
		".bashrc":     {".bashrc", "", ".bashrc", ".", ""},
		"a/.bashrc":   {"a/.bashrc", "a/", ".bashrc", "a", ""},
		"foo.":        {"foo.", "foo.", "foo.", ".", "foo."},
		"a.b/c":       {"a.b/c", "a.b/c", "c", "a.b", "c"},
		"a.b/c.d.e":   {"a.b/c.d.e", "a.b/c.d", "c.d.e", "a.b", "c.d"},
		"/x":          {"/x", "/x", "x", "/", "x"},
		"x/":          {"x/", "x/", "", ".", ""},
		"":            {"", "", "", ".", ""},
		"/":           {"/", "/", "", "/", ""},
		"a//b.c":      {"a//b.c", "a//b", "b.c", "a", "b"},
		"{#} {%} {/}": {"{#} {%} {/}", "{#} {%} {/}", "}", "{#} {%} {", "}"}, // an input is no template
	} {
		got := tm.Expand(nil, input, 7, 2)
		if want := slices.Concat([]string{"echo"}, want, []string{"7", "3"}); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", input, got, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, c := range []struct{ words, want []string }{
		{[]string{"rm"}, []string{"rm", "IN.x"}},
		{[]string{"a{}b{}c", "{{}}", "{x}", "{", "", "{.", "}{}"}, []string{"aIN.xbIN.xc", "{IN.x}", "{x}", "{", "", "{.", "}IN.x"}},
		{[]string{"{}", "{.}.y"}, []string{"IN.x", "IN.y"}},
		{[]string{"n", "{#}"}, []string{"n", "1"}},
	} {
		tm, err := Parse(c.words)
		if err != nil {
			t.Fatal(err)
		}
		if got := tm.Expand(nil, "IN.x", 1, 0); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
		program, fixed := tm.Program()
		if fixed != (c.words[0] == "rm" || c.words[0] == "n") || fixed && program != c.words[0] {
			t.Errorf("%q: program %q %v", c.words, program, fixed)
		}
	}
}

// Parsing loses no byte: with each placeholder standing for itself, a template gives the words back.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{}", "a{.}b", "{{}}", "{//}{/}{/.}", "{#}{%}", "{", "}{", "{/", "{//", "{/.", "{{{.}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		var back strings.Builder
		for _, p := range split(word) {
			if p.hole == literal {
				back.WriteString(p.text)
				if at, h, _ := find(p.text); h != literal {
					t.Errorf("%q: literal %q holds a placeholder at %d", word, p.text, at)
				}
				continue
			}
			back.WriteString(holes[slices.IndexFunc(holes[:], func(h struct {
				text string
				hole hole
			}) bool {
				return h.hole == p.hole
			})].text)
		}
		if back.String() != word {
			t.Errorf("%q came back as %q", word, back.String())
		}
	})
}

// Whatever an input holds, a script gets it as one value, wherever its placeholder stands.
func TestShellNeverReadsAnInputAsProgram(t *testing.T) {
	scripts := []string{`printf %s {}`, `printf %s "{}"`, `printf %s "$1"`, `printf %s "$(printf %s {})"`, `printf %s "$(printf %s "{}")"`,
		`x={}; printf %s "$x"`, `(printf %s {}) # {`, "# it's {}\nprintf %s {}", `printf '%s' "a\"">/dev/null; printf %s {}`, `printf %s "$((1))" >/dev/null; printf %s {}`}
	rapid.Check(t, func(t *rapid.T) {
		// A command substitution drops line ends at its end: that is the shell's own.
		input := strings.TrimRight(rapid.StringOfN(rapid.RuneFrom([]rune("ab '\"\\$`()*?;&|<>\n\t{}#!~=-é\x01")), 0, 20, -1).Draw(t, "input"), "\n")
		script := rapid.SampledFrom(scripts).Draw(t, "script")
		tm, err := ParseShell(script)
		if err != nil {
			t.Fatal(err)
		}
		argv := tm.Expand(nil, input, 1, 0)
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil || string(out) != input {
			t.Errorf("%q with %q printed %q (%v); the script became %q", script, input, out, err, argv[2])
		}
	})
}

func TestShellRefusesWhatItCannotQuote(t *testing.T) {
	for script, want := range map[string]string{
		`echo '{}'`:     "between single quotes",
		`echo \{}`:      "behind a backslash",
		"echo `cat {}`": "between backquotes",
		" ":             "empty",
	} {
		if _, err := ParseShell(script); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
}

func TestQuoteIsReadBackByAShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab '\"\\$`()*?;\n\t\r\x01\x7f{}#~=-é")), 0, 12, -1), 1, 4).Draw(t, "words")
		line := Quote(words)
		if strings.ContainsAny(line, "\n\t\r") {
			t.Fatalf("%q is not one line", line)
		}
		out, err := exec.Command(bash, "-c", `printf '%s\0' `+line).Output()
		if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); err != nil || !slices.Equal(got, words) {
			t.Errorf("%q became %s and was read as %q (%v)", words, line, got, err)
		}
	})
}
