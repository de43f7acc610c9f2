package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"
)

// result prints times, ratios and what to try next.
func (d *demo) result(loop, book time.Duration, why string, ours report) {
	took := time.Duration(ours.Seconds * float64(time.Second))
	n := len(d.photos)
	row := func(what string, t time.Duration, note string) {
		fmt.Fprintf(d.Out, "  %-34s %7.1f s  %6.1f photos/s  %s\n", what, t.Seconds(), float64(n)/t.Seconds(), note)
	}
	fmt.Fprintf(d.Out, "\n%s\n", d.bold(fmt.Sprintf("%d photos, resized, blurred, uploaded:", n)))
	row("(a) plain loop", loop, fmt.Sprintf("estimated from %d of %d", min(sample, n), n))
	if why == "" {
		row("(b) Pool, then threads", book, "without the 2 that crash")
	} else {
		fmt.Fprintf(d.Out, "  %-34s %s\n", "(b) Pool, then threads", why)
	}
	row("(c) Tandem", took, fmt.Sprintf("start of workers included; up to %d uploads in flight", ours.most))
	line := fmt.Sprintf("Tandem is %.1f× the plain loop", loop.Seconds()/took.Seconds())
	if why == "" {
		line += fmt.Sprintf(" and %.2f× the textbook answer", book.Seconds()/took.Seconds())
	}
	fmt.Fprintf(d.Out, "\n%s\n", d.bold(line+"."))
	fmt.Fprintln(d.Out, "2 photos crashed their worker, and a fresh one: each cost one item, the workers were replaced, all others arrived.")
	fmt.Fprint(d.Out, "\ntry next:\n")
	if d.Keep || d.Photos != "" {
		fmt.Fprintf(d.Out, "  less %s\n", filepath.Join(d.Dir, finished))
	}
	fmt.Fprintf(d.Out, "  %s demo --keep --dir tandem-demo    keep flow.yaml, images.py and the photos to play with\n", d.Tandem)
	fmt.Fprintf(d.Out, "  %s demo --photos ~/Pictures         the same with your photos\n", d.Tandem)
	fmt.Fprintf(d.Out, "  %s doctor                           what this machine has\n", d.Tandem)
}

func (d *demo) bold(s string) string {
	if !d.Color {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// post is one upload of the plain loop.
func post(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return err
}
