package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/demo"
	"tandem/internal/flowfile"
	"tandem/internal/proc"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check FLOW…", Short: "Find mistakes in flow files without running anything",
		Example: "  tandem check flow.yaml", Args: takes(1, -1, "flow file"),
		RunE: func(_ *cobra.Command, args []string) error {
			var all []error
			for _, path := range args {
				f, err := flowfile.Load(path)
				if err != nil {
					all = append(all, err)
					continue
				}
				fmt.Fprintf(a.err, "%s: %s, %d steps: %s\n", path, a.green("good"), len(f.Steps), f.Outline())
			}
			return errors.Join(all...)
		},
	}
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the flow file",
		Long:    "Print the JSON Schema of the flow file. Editors complete and check flow files with it: write it beside\nthe flow and put `# yaml-language-server: $schema=flow.schema.json` on its first line.",
		Example: "  tandem schema > flow.schema.json", Args: takes(0, 0, "argument"),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(flowfile.Schema())
			return err
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version, as --version does", Args: takes(0, 0, "argument"),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, versionLine())
			return err
		}}
}

func versionLine() string {
	v := Version
	if bi, ok := debug.ReadBuildInfo(); ok && v == "dev" {
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				v += " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("tandem %s, worker protocol 1, %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) demoCommand() *cobra.Command {
	cfg := demo.Config{}
	c := &cobra.Command{
		Use: "demo", Short: "See it run: photos through a process pool, uploads beside it, next to the textbook answer",
		Long: `Make some hundred photo-sized JPEGs (or take yours), start a local API with 80 to 400 ms latency, and run the same job three ways:
a plain loop on a sample, the textbook Python answer, and Tandem. Two images crash their worker. No network is used; it takes about a minute.`,
		Example: "  tandem demo\n  tandem demo --photos ~/Pictures --keep", Args: takes(0, 0, "argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			cfg.Out, cfg.Tandem, cfg.Color, cfg.Start, cfg.Env = a.out, exe, a.colour, startCommand, os.Environ()
			if cfg.Python == "" {
				cfg.Python = os.Getenv("TANDEM_PYTHON")
			}
			if cfg.Python == "" {
				if p, err := proc.Look("python3"); err == nil {
					cfg.Python = p
				}
			}
			if strings.ContainsRune(cfg.Python, filepath.Separator) {
				if cfg.Python, err = filepath.Abs(cfg.Python); err != nil { // the demo works in a directory of its own
					return err
				}
			}
			return demo.Run(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&cfg.Photos, "photos", "", "use the *.jpg below this directory instead of making some")
	c.Flags().IntVar(&cfg.Count, "count", 0, "how many photos to make (default 400)")
	c.Flags().StringVar(&cfg.Python, "python", "", "Python interpreter (default $TANDEM_PYTHON, then python3)")
	c.Flags().BoolVar(&cfg.Keep, "keep", false, "keep the photos, the flow and the results")
	c.Flags().StringVar(&cfg.Dir, "dir", "", "work in this directory (default: a temporary one)")
	return c
}

// startCommand runs a program to its end for the demo.
func startCommand(ctx context.Context, argv, env []string, dir string, stdout, stderr io.Writer) error {
	var werr error
	x, err := proc.Run(ctx, proc.Command{Argv: argv, Env: env, Dir: dir, Output: func(stream int, b []byte) {
		w := stdout
		if stream == 2 {
			w = stderr
		}
		if w != nil {
			if _, err := w.Write(b); err != nil {
				werr = err
			}
		}
	}})
	switch {
	case err != nil:
		return err
	case werr != nil:
		return werr
	case x.Canceled:
		return context.Cause(ctx)
	case x.Code != 0 || x.Signal != "":
		return &tandem.Error{Op: "run", On: argv[0], Kind: tandem.KindExit, Message: fmt.Sprintf("exit code %d %s", x.Code, x.Signal), Trace: string(x.Stderr)}
	}
	return nil
}

// thumbCommand is the demo's image code as a command, for Python without Pillow.
func (a *app) thumbCommand() *cobra.Command {
	return &cobra.Command{Use: "demo-thumb PHOTO", Short: "Resize and blur one photo to standard output", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := demo.Thumb(args[0])
			if err == nil {
				_, err = a.out.Write(b)
			}
			return err
		}}
}
