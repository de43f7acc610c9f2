package top

import (
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"tandem"
	"tandem/internal/live"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func picture() Snapshot {
	total := int64(200)
	s := &live.State{Run: "20260301-101500-ab3de", Name: "photos", Seconds: 20, Items: live.Items{In: 120, Ended: 50, OK: 49, Bad: 1, Total: &total}, Bottleneck: "thumb: its queue was full",
		Steps: []live.Step{
			{Name: "thumb", Mode: tandem.Process, Ended: 60, Bad: 1, Rate: 3, RunningTotal: 2, Limit: 3, Queue: 12, QueueFull: 0.5, Workers: []tandem.WorkerView{
				{Worker: "thumb/1", PID: 11, State: "busy", Running: []tandem.Running{{Item: "a.jpg", Seconds: 2}}, Done: 30},
				{Worker: "thumb/2", PID: 12, State: "suspect", Running: []tandem.Running{{Item: "b\x1b[2J.jpg", Seconds: 70}}, Done: 29},
				{Worker: "thumb/3", PID: 13, State: "idle", Done: 31, Restarts: 4},
			}},
			{Name: "upload", Mode: tandem.Goroutine, Ended: 50, RunningTotal: 4000, Limit: 4096},
		}}
	for i := range 40 {
		s.Steps[1].Running = append(s.Steps[1].Running, tandem.Running{Item: fmt.Sprintf("写真-%d.jpg", i), Seconds: float64(100 - i)})
	}
	return Snapshot{State: s, Kernel: map[int]Process{11: {CPU: 0.5, RSS: 10 << 20}, 12: {CPU: 0.99, RSS: 5 << 20}, 13: {CPU: -1, RSS: 1 << 30}}}
}

func press(m *model, keys ...string) {
	for _, k := range keys {
		msg := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		switch k {
		case "enter":
			msg = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			msg = tea.KeyPressMsg{Code: tea.KeyEscape}
		case "space":
			msg = tea.KeyPressMsg{Code: tea.KeySpace, Text: " "}
		case "end":
			msg = tea.KeyPressMsg{Code: tea.KeyEnd}
		case "backspace":
			msg = tea.KeyPressMsg{Code: tea.KeyBackspace}
		}
		m.Update(msg)
	}
}

// names are the workers and items in the order in which they are shown.
func names(m *model) (all []string) {
	for _, l := range m.lines() {
		f := strings.Fields(ansi.Strip(l))
		if len(f) > 1 && strings.Contains("◐○●◆▽✗·", f[0]) {
			all = append(all, f[1])
		}
	}
	return all
}

func TestPictureFitsEveryWindow(t *testing.T) {
	for _, colour := range []bool{false, true} {
		for width := 10; width < 150; width += 7 {
			for height := 2; height < 60; height += 3 {
				m := &model{cfg: Config{Colour: colour}}
				m.Update(tea.WindowSizeMsg{Width: width, Height: height})
				m.Update(snapped(picture()))
				lines := m.lines()
				if len(lines) != height {
					t.Fatalf("%d×%d: %d lines", width, height, len(lines))
				}
				for _, l := range lines {
					if n := ansi.StringWidth(l); n > width || strings.Contains(l, "\n") {
						t.Fatalf("%d×%d: a line of %d: %q", width, height, n, l)
					}
					if !colour && strings.Contains(l, "\x1b") {
						t.Fatalf("without colours, or from an item's name: %q", l)
					}
				}
			}
		}
	}
}

func TestPictureAt80By24(t *testing.T) {
	m := &model{width: 80, height: 24}
	m.Update(snapped(picture()))
	text := strings.Join(m.lines(), "\n")
	for _, want := range []string{
		"photos  20260301-101500-ab3de  20s  50 of 200 (25 %)  eta 1m00s  1 bad",
		"bottleneck: thumb: its queue was full",
		"  STEP           MODE          DONE A SECOND     RUNNING  QUEUE            BAD",
		"  thumb          process         60      3.0      2 of 3  ████····    12     1",
		"● thumb/1             11 busy       50   10M   0.0s   0      30  a.jpg for 2.0s",
		"◆ thumb/2             12 suspect    99    5M   0.0s   0      29  b·[2J.jpg for …",
		"○ thumb/3             13 idle        -     -   0.0s   4      31",
		"more: ↑ ↓ or / to filter",
		"q quit  s sort: worker  r reverse  / filter  space pause  ↑↓ scroll",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestKeys(t *testing.T) {
	m := &model{width: 100, height: 60}
	m.Update(snapped(picture()))
	for _, c := range []struct {
		keys  []string
		first string // two names
	}{
		{nil, "thumb/1 thumb/2"},
		{[]string{"s"}, "thumb/2 thumb/1"},                  // cpu
		{[]string{"s"}, "thumb/3 thumb/1"},                  // memory
		{[]string{"s"}, "upload upload"},                    // time of the item
		{[]string{"s"}, "thumb/3 thumb/1"},                  // done
		{[]string{"s", "r"}, "upload upload"},               // worker, reversed
		{[]string{"r", "/", "S", "u", "s", "p"}, "thumb/2"}, // suspect
		{[]string{"backspace", "enter"}, "thumb/2"},
		{[]string{"esc"}, "thumb/1 thumb/2"},
		{[]string{"/", "写", "enter"}, "upload upload"},
		{[]string{"/", "esc"}, "thumb/1 thumb/2"},
	} {
		press(m, c.keys...)
		got := names(m)
		if text := strings.Join(got[:min(2, len(got))], " "); text != c.first {
			t.Errorf("after %q: %s, want %s", c.keys, text, c.first)
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 100, Height: 20})
	press(m, "end")
	if got := m.lines(); !strings.Contains(strings.Join(got, "\n"), "写真-39.jpg") {
		t.Errorf("the end is not shown:\n%s", strings.Join(got, "\n"))
	}
	for range 100 {
		press(m, "j")
	}
	for range 50 {
		press(m, "k")
	}
	if names(m)[0] != "thumb/1" {
		t.Errorf("not at the beginning again: %v", names(m))
	}
	for _, quit := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}, {Code: tea.KeyEscape}} {
		if _, cmd := m.Update(quit); cmd == nil {
			t.Errorf("%s does not end it", quit)
		} else if _, ok := cmd().(tea.QuitMsg); !ok {
			t.Errorf("%s does something else", quit)
		}
	}
}

func TestPausedHoldsThePictureButNotTheEnd(t *testing.T) {
	m := &model{width: 100, height: 30}
	m.Update(snapped(picture()))
	press(m, "space")
	later := picture()
	later.State.Name = "other"
	m.Update(snapped(later))
	if text := strings.Join(m.lines(), "\n"); !strings.Contains(text, "photos") || !strings.Contains(text, "PAUSED") {
		t.Error(text)
	}
	if _, cmd := m.Update(snapped(Snapshot{Over: true})); cmd == nil || !m.now.Over {
		t.Error("the end of the run is missed")
	}
}

func TestARunThatDoesNotAnswer(t *testing.T) {
	m := &model{width: 100, height: 30}
	if text := m.lines()[0]; text != "asking the run…" {
		t.Error(text)
	}
	m.Update(snapped(Snapshot{Silent: "it is stopped"}))
	if text := m.lines()[0]; !strings.Contains(text, "does not answer: it is stopped") {
		t.Error(text)
	}
	m.Update(snapped(picture()))
	m.Update(snapped(Snapshot{Silent: "it is stopped"}))
	if text := strings.Join(m.lines(), "\n"); !strings.Contains(text, "it does not answer: it is stopped; this is 0.0s old") || !strings.Contains(text, "thumb/1") {
		t.Error(text)
	}
}

func TestRatesAreThoseSinceTheLastPicture(t *testing.T) {
	m := &model{width: 100, height: 30}
	m.Update(snapped(picture()))
	later := picture()
	later.State.Seconds += 2
	later.State.Steps[0].Ended += 30
	m.Update(snapped(later))
	if r := m.rate(m.now.State.Steps[0]); r != 15 {
		t.Errorf("%v items a second", r)
	}
}
