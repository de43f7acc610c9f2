// Package demo is `tandem demo`: one job run three ways on photographs, without any network.
//
// The job: read a photo, make it 512 pixels wide, blur it, send it to an API that takes 80 to 400 ms. All three ways run the same image code
// against the same API on this machine. Run leaves nothing behind unless told to keep it.
package demo

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tandem"
)

//go:embed files
var files embed.FS

// Config of the demo.
type Config struct {
	Photos string // directory with the user's photos; empty means that some are made
	Count  int    // photos to make; zero means 400
	Out    io.Writer
	Tandem string // the tandem program
	Python string // interpreter; empty means that there is none
	Dir    string // where to work; empty means a temporary directory
	Keep   bool
	Color  bool
	Env    []string // environment of what is started
	// Start runs a program to its end.
	Start func(ctx context.Context, argv, env []string, dir string, stdout, stderr io.Writer) error
}

const (
	sample   = 8  // photos that the plain loop does
	uploads  = 64 // uploads in flight
	finished = "out.jsonl"
)

// demo is one run of it.
type demo struct {
	Config
	begun  time.Time
	api    *api
	photos []string // that do not crash
	cores  int
	code   string // what makes the thumbnails
}

// Run runs the demo. The error says what did not go as it should, also when Tandem lost an item.
func Run(ctx context.Context, c Config) error {
	if c.Count <= 0 {
		c.Count = 400
	}
	d := &demo{Config: c, begun: time.Now(), cores: runtime.NumCPU()}
	if d.Dir == "" {
		dir, err := os.MkdirTemp("", "tandem-demo-")
		if err != nil {
			return err
		}
		d.Dir = dir
	}
	if !d.Keep && c.Dir == "" {
		defer os.RemoveAll(d.Dir)
	}
	var err error
	if d.Dir, err = filepath.Abs(d.Dir); err != nil {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	defer d.api.stop()
	loop, err := d.loop(ctx)
	if err != nil {
		return err
	}
	book, why, err := d.textbook(ctx)
	if err != nil {
		return err
	}
	ours, err := d.tandem(ctx)
	if err != nil {
		return err
	}
	d.result(loop, book, why, ours)
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.Out, "%5.1fs  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...))
}

// prepare makes photos, scripts and the API.
func (d *demo) prepare(ctx context.Context) (err error) {
	photos := filepath.Join(d.Dir, "photos")
	if d.Photos != "" {
		d.say("linking the photos below %s", d.Photos)
		d.Count, err = linkPhotos(d.Photos, photos)
	} else {
		d.say("making %d photos of %d×%d and 2 that crash their worker", d.Count, photoWidth, photoHeight)
		err = makePhotos(ctx, photos, d.Count)
	}
	if err != nil {
		return err
	}
	if d.photos, err = filepath.Glob(filepath.Join(photos, "photo-*.jpg")); err != nil {
		return err
	}
	for _, name := range []string{"images.py", "plain.py", "textbook.py"} {
		b, err := files.ReadFile("files/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d.Dir, name), b, 0o644); err != nil {
			return err
		}
	}
	if d.api, err = startAPI(); err != nil {
		return err
	}
	d.code = "Tandem's own image code (Python is not here)"
	if d.Python != "" {
		out, err := d.run(ctx, d.Python, "images.py")
		if err != nil {
			return err
		}
		d.code = strings.TrimSpace(out)
	}
	d.say("an API on %s that takes 80 to 400 ms; image code: %s; %d cores", strings.TrimSuffix(d.api.URL, "/upload"), d.code, d.cores)
	return nil
}

// run starts a program in the demo's directory and gives its output.
func (d *demo) run(ctx context.Context, argv ...string) (string, error) {
	var out, errs bytes.Buffer
	env := append(d.Env, "TANDEM_HOME="+filepath.Join(d.Dir, ".tandem"), "TANDEM_BIN="+d.Tandem, "TANDEM_PYTHON="+d.Python, "PYTHONDONTWRITEBYTECODE=1") // the run goes with the demo
	err := d.Start(ctx, argv, env, d.Dir, &out, &errs)
	if err != nil && errs.Len() > 0 {
		err = fmt.Errorf("%w\n%s", err, errs.String())
	}
	return out.String(), err
}

// loop does a sample one after another and gives the time for all.
func (d *demo) loop(ctx context.Context) (time.Duration, error) {
	n := min(sample, len(d.photos))
	d.say("(a) a plain loop over %d of %d photos", n, len(d.photos))
	var took time.Duration
	if d.Python == "" {
		begun := time.Now()
		for _, p := range d.photos[:n] {
			b, err := Thumb(p)
			if err == nil {
				err = post(ctx, d.api.URL, b)
			}
			if err != nil {
				return 0, err
			}
		}
		took = time.Since(begun)
	} else {
		out, err := d.run(ctx, append([]string{d.Python, "plain.py", d.api.URL}, d.photos[:n]...)...)
		if err != nil {
			return 0, err
		}
		if took, err = parseSeconds(out); err != nil {
			return 0, err
		}
	}
	d.api.take()
	return took * time.Duration(len(d.photos)) / time.Duration(n), nil
}

func parseSeconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return time.Duration(f * float64(time.Second)), err
}

// textbook runs the textbook answer; why tells why not.
func (d *demo) textbook(ctx context.Context) (took time.Duration, why string, err error) {
	if d.Python == "" {
		return 0, "left out: Python is not here", nil
	}
	d.say("(b) the textbook answer: multiprocessing.Pool(%d), then %d threads; without the 2 photos that crash, for which Pool.map would wait for ever", d.cores, uploads)
	out, err := d.run(ctx, append([]string{d.Python, "textbook.py", d.api.URL, strconv.Itoa(d.cores), strconv.Itoa(uploads)}, d.photos...)...)
	if err != nil {
		return 0, "", err
	}
	if n, _ := d.api.take(); n != len(d.photos) {
		return 0, "", fmt.Errorf("the textbook answer uploaded %d of %d photos", n, len(d.photos))
	}
	took, err = parseSeconds(out)
	return took, "", err
}

// report is what the demo reads of `tandem run --json`.
type report struct {
	Seconds float64
	Items   struct{ In, OK, Quarantined int }
	Steps   []struct {
		Name    string
		Crashes int
	}
	most int // uploads in flight, as the API saw it
}

func (d *demo) flow() string {
	handler := "python: images.py:thumb        # compute: one worker process per core"
	if d.Python == "" {
		handler = fmt.Sprintf("worker: [%q]              # compute: one worker process per core\n    handler: thumb", d.Tandem)
	}
	return fmt.Sprintf(`tandem: v1
name: photos
from: {files: "photos/*.jpg"}
steps:
  - name: thumb
    %s
    mode: process
    timeout: 20s
  - name: upload
    http: {post: %q, body: "${{ prev }}", expect: 2xx}   # waiting: goroutines
    concurrency: %d
into: {jsonl: %s}
`, handler, d.api.URL, uploads, finished)
}

// tandem runs the flow and checks that nothing was lost.
func (d *demo) tandem(ctx context.Context) (r report, err error) {
	d.say("(c) tandem run flow.yaml, with the 2 photos that crash")
	if err := os.WriteFile(filepath.Join(d.Dir, "flow.yaml"), []byte(d.flow()), 0o644); err != nil {
		return r, err
	}
	out, runErr := d.run(ctx, d.Tandem, "run", "flow.yaml", "--json", "--progress", "none")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return r, fmt.Errorf("tandem run gave no report: %w (%v)", runErr, err)
	}
	n, most := d.api.take()
	r.most = most
	lines, err := os.ReadFile(filepath.Join(d.Dir, finished))
	if err != nil {
		return r, err
	}
	all := len(d.photos) + 2
	if r.Items.In != all || r.Items.OK != all-2 || r.Items.Quarantined != 2 || n != all-2 || bytes.Count(lines, []byte("\n")) != all {
		return r, &tandem.Error{Op: "check", On: "the demo", Kind: tandem.KindInvalid,
			Message: fmt.Sprintf("%d photos: in %d, ok %d, quarantined %d, uploads %d, lines %d (%v)", all, r.Items.In, r.Items.OK, r.Items.Quarantined, n, bytes.Count(lines, []byte("\n")), runErr),
			Hint:    "want all but two ok and uploaded, two quarantined, a line for each: please report this"}
	}
	return r, nil
}
