package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite generated files")

// reference is docs/reference/cli.md, from the commands.
func reference() []byte {
	var b bytes.Buffer
	b.WriteString("# Every command and flag\n\nWritten by `make generate` from the commands themselves; [The command](../cli.md) explains them. `--help` says the same.\n")
	a := &app{}
	describe(&b, a.root())
	return b.Bytes()
}

func describe(b *bytes.Buffer, c *cobra.Command) {
	if c.Hidden || c.Name() == "help" {
		return
	}
	if c.Runnable() {
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n\n%s\n", c.CommandPath(), c.UseLine(), strings.TrimSpace(text))
		flags(b, c)
		if c.Example != "" {
			fmt.Fprintf(b, "\n```\n%s\n```\n", strings.TrimRight(c.Example, "\n"))
		}
	}
	for _, sub := range c.Commands() {
		describe(b, sub)
	}
}

func flags(b *bytes.Buffer, c *cobra.Command) {
	n := 0
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if n++; n == 1 {
			b.WriteString("\n| flag | meaning | unless told otherwise |\n|---|---|---|\n")
		}
		name, kind := "`--"+f.Name, f.Value.Type()
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		if kind != "bool" {
			name += " " + strings.ToUpper(map[string]string{"stringArray": "text", "string": "text", "int": "n", "duration": "time"}[kind])
		}
		otherwise := f.DefValue
		if otherwise == "[]" || otherwise == "false" || otherwise == "0" {
			otherwise = ""
		}
		fmt.Fprintf(b, "| %s` | %s | %s |\n", name, strings.ReplaceAll(f.Usage, "|", `\|`), otherwise)
	})
}

func TestReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/reference/cli.md"
	if *update {
		if err := os.WriteFile(path, reference(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, reference()) {
		t.Errorf("%s is not what the commands say (%v): run make generate", path, err)
	}
}
