package report

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"tandem/engine"
	"tandem/internal/lanes"
)

// browser is a headless Chromium for one test. What it complains about fails the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	name := ""
	for _, n := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(n); err == nil && name == "" {
			name = p
		}
	}
	if name == "" {
		t.Skip("NOT TESTED: the report's page, because there is no chromium; make test installs it for root, or: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(name), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's own sandbox refuses root
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	says := chromedp.Console(ctx)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for m, err := range says {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" || m.Type == "warning" {
				t.Errorf("the page's console: %v", m)
			}
		}
	}()
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser, so that its directory can go
		end()
		<-heard
	})
	do(t, ctx, chromedp.EmulateViewport(1280, 900))
	return ctx
}

const patience = time.Minute

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, end := context.WithTimeout(ctx, patience)
	defer end()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask runs a piece of program in the page.
func ask[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	ctx, end := context.WithTimeout(ctx, patience)
	defer end()
	x, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(script, err)
	}
	return x
}

// open writes the page to a file and opens it, as a person would.
func open(t *testing.T, ctx context.Context, d *Document) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(html(t, d)), 0o600); err != nil {
		t.Fatal(err)
	}
	visit(t, ctx, "file://"+path)
}

func visit(t *testing.T, ctx context.Context, address string) {
	t.Helper()
	do(t, ctx, chromedp.Navigate(address))
	if got := ask[string](t, ctx, `document.documentElement.dataset.ready`); got != "yes" {
		t.Fatalf("the page's program did not run to its end: %q", got)
	}
}

func number64(t *testing.T, ctx context.Context, name string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(ask[string](t, ctx, fmt.Sprintf(`document.querySelector("#lanes").dataset[%q]`, name)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// shown waits for the next drawing and says what stretch of time it shows, in milliseconds.
func shown(t *testing.T, ctx context.Context) (from, to float64) {
	t.Helper()
	ask[int](t, ctx, `new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))`)
	return number64(t, ctx, "from"), number64(t, ctx, "to")
}

func press(t *testing.T, ctx context.Context, key string) {
	t.Helper()
	ask[bool](t, ctx, fmt.Sprintf(`document.querySelector("#lanes").dispatchEvent(new KeyboardEvent("keydown", {key: %q, bubbles: true, cancelable: true}))`, key))
}

func text(t *testing.T, ctx context.Context, of string) string {
	t.Helper()
	return ask[string](t, ctx, fmt.Sprintf(`document.querySelector(%q).textContent`, of))
}

// million is a run of a million items, 64 workers and an hour, in which one crashed.
func million(t *testing.T) (*made, *Document) {
	m := begin(t)
	m.rows(time.Hour, 64, 200)
	m.rec.Mark(lanes.Mark{At: 1234567 * time.Millisecond, Kind: lanes.Crashed, Lane: 17, Item: "photos/0007.jpg", Reason: "SIGSEGV (segmentation fault)"})
	r := photos()
	r.Items = engine.Items{In: 1_000_000, OK: 999_999, Quarantined: 1}
	m.end(t, r)
	return m, m.gather(t)
}

func TestPageOfAMillionItems(t *testing.T) {
	ctx := browser(t)
	_, d := million(t)
	open(t, ctx, d)

	loaded := ask[float64](t, ctx, `performance.timing.loadEventEnd - performance.timing.navigationStart`)
	t.Logf("1 000 000 items, %d lanes, %d rows: the page was there after %.0f ms, of which the picture took %.0f ms", len(d.Lanes), len(d.Rows), loaded, number64(t, ctx, "took"))

	if got := text(t, ctx, "#answer"); !strings.HasPrefix(got, "1\u00a0000\u00a0000 items in 60 min 04 s: 999\u00a0999 ok, 1 quarantined; bound by step thumb (cpu") {
		t.Errorf("the page opens with %q", got)
	}
	lanesInTable := ask[int](t, ctx, `document.querySelectorAll("#table tbody tr").length`)
	focusable := ask[int](t, ctx, `[...document.querySelectorAll("button, #lanes")].filter(e => e.tabIndex >= 0).length`)
	if lanesInTable != 64 || focusable < 7 {
		t.Errorf("%d lanes in the table, %d things to reach with the tab key", lanesInTable, focusable)
	}

	// The one crash is on the picture of the whole hour, in its colour.
	if n := number64(t, ctx, "marks"); n != 1 {
		t.Errorf("%v marks are in view, want the one crash", n)
	}
	if n := vermilion(t, ctx); n == 0 {
		t.Error("the crash cannot be seen")
	}

	// The keys move the view.
	from, to := shown(t, ctx)
	press(t, ctx, "+")
	if f, u := shown(t, ctx); u-f > (to-from)*0.6 {
		t.Errorf("plus: %v to %v, it was %v to %v", f, u, from, to)
	}
	before, _ := shown(t, ctx)
	press(t, ctx, "ArrowRight")
	if f, _ := shown(t, ctx); f <= before {
		t.Errorf("arrow right: from %v, it was %v", f, before)
	}
	press(t, ctx, "0")
	if f, u := shown(t, ctx); f != from || u != to {
		t.Errorf("0: %v to %v, want the whole run, %v to %v", f, u, from, to)
	}
	press(t, ctx, "-")
	if f, u := shown(t, ctx); f != from || u != to {
		t.Errorf("minus at the whole run: %v to %v", f, u)
	}
	press(t, ctx, "n")
	for range 12 {
		press(t, ctx, "+")
	}
	if f, u := shown(t, ctx); u-f > 2000 || f > 1234567 || u < 1234567 {
		t.Errorf("n and then closer: %v to %v, want the crash at 1234567 in view", f, u)
	}
	if got := text(t, ctx, "#told"); !strings.Contains(got, "crash in thumb/18") || !strings.Contains(got, "photos/0007.jpg: SIGSEGV") {
		t.Errorf("n says %q", got)
	}
	press(t, ctx, "ArrowDown")
	if got := text(t, ctx, "#told"); !strings.Contains(got, "thumb/19, 20:34") {
		t.Errorf("arrow down says %q", got)
	}
	press(t, ctx, "?")
	if ask[bool](t, ctx, `document.querySelector("#help").hidden`) {
		t.Error("? shows no help")
	}
}

// vermilion counts pixels of the lanes in the colour of marks.
func vermilion(t *testing.T, ctx context.Context) int {
	t.Helper()
	return ask[int](t, ctx, `(() => {
		const c = document.querySelector("#lanes"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		let n = 0;
		for (let i = 0; i < d.length; i += 4) if (Math.abs(d[i] - 213) < 12 && Math.abs(d[i + 1] - 94) < 12 && d[i + 2] < 12) n++;
		return n;
	})()`)
}

// A page without a crash has nothing in the colour of one.
func TestNothingIsVermilionWithoutACrash(t *testing.T) {
	ctx := browser(t)
	m := begin(t)
	m.rows(10*time.Second, 4, 10)
	m.end(t, photos())
	open(t, ctx, m.gather(t))
	if n := vermilion(t, ctx); n > 0 {
		t.Errorf("%d pixels look like a crash", n)
	}
}

func TestDarkAndNarrow(t *testing.T) {
	ctx := browser(t)
	_, d := million(t)
	open(t, ctx, d)
	looks := func() (back string, corner []int) {
		return ask[string](t, ctx, `getComputedStyle(document.body).backgroundColor`),
			ask[[]int](t, ctx, `[...document.querySelector("#lanes").getContext("2d").getImageData(2, 2, 1, 1).data]`)
	}
	light, corner := looks()
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.EmulateViewport(800, 900))
	shown(t, ctx)
	dark, darkCorner := looks()
	if light != "rgb(255, 255, 255)" || dark != "rgb(20, 23, 28)" || corner[0] != 255 || darkCorner[0] != 20 {
		t.Errorf("light: page %s, canvas %v; dark: page %s, canvas %v", light, corner, dark, darkCorner)
	}
	if wide := ask[int](t, ctx, `document.documentElement.scrollWidth`); wide > 800 {
		t.Errorf("the page is %d wide in a window of 800", wide)
	}
}

// A page that is served follows the run, stops following when the view is moved, and goes on when asked.
func TestFollow(t *testing.T) {
	ctx := browser(t)
	m := begin(t)
	m.rows(2*time.Second, 2, 1)
	server := httptest.NewServer(Handler(func() (*Document, error) { return m.gather(t), nil }))
	defer server.Close()
	visit(t, ctx, server.URL+"/")
	until := func(what string, yes func(from, to float64) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			from, to := shown(t, ctx)
			if yes(from, to) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v to %v", what, from, to)
			}
		}
	}
	m.rows(20*time.Second, 2, 1)
	until("it does not follow", func(from, to float64) bool { return from == 0 && to > 19_000 })
	press(t, ctx, "+")
	if got := text(t, ctx, "#follow"); got == "following" {
		shown(t, ctx)
		if got = text(t, ctx, "#follow"); got != "paused — jump to now" {
			t.Errorf("after a zoom the button says %q", got)
		}
	}
	_, to := shown(t, ctx)
	m.rows(40*time.Second, 2, 1)
	time.Sleep(2500 * time.Millisecond)
	if _, now := shown(t, ctx); now != to {
		t.Errorf("the view has moved to %v although it was taken by hand at %v", now, to)
	}
	press(t, ctx, "f")
	until("f does not follow", func(_, to float64) bool { return to > 39_000 })
}
