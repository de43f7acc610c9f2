package measure_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	accuracy = flag.Bool("accuracy", false, "run the whole corpus in three settings and print how often the answer was right")
	tandem   = flag.String("tandem", "", "the tandem binary for -accuracy")
	seed     = flag.Int("seed", 1, "what the corpus derives its constants from")
	only     = flag.String("only", "", "run only the programs whose names this regular expression fits")
	settings = flag.String("settings", "quiet,hog,pinned", "which settings")
	probe    = flag.Bool("probe", false, "with -accuracy: also with --probe-spin, which runs each busy program twice")
	handlers = flag.Bool("handlers", false, "run the labelled handlers with mode auto and with every setting of their grid")
	pairs    = flag.Int("pairs", 4, "with -handlers: how often what auto and what the search found are run one after the other")
	outFile  = flag.String("out", "", "with -handlers: a file for the figures as JSON")
	gridTime = flag.Duration("grid", 900*time.Millisecond, "with -handlers: how long each setting runs")
	autoTime = flag.Duration("auto", 4*time.Second, "with -handlers: how long mode auto runs")
	explain  = flag.Bool("explain", false, "with -handlers: print every decision")
	rounds   = flag.Int("rounds", 1, "how often")
)

// program is a line of the corpus.
type program struct {
	name   string
	cmd    string
	truth  []string // the label, and what is right as well
	pinned []string // on one processor
}

// fill gives the arguments; nil when the program needs a server and there is none.
func (p program) fill(bin, url string) []string {
	if url == "" && strings.Contains(p.cmd, "$URL") {
		return nil
	}
	return strings.Fields(strings.NewReplacer("$BIN", bin, "$URL", url, "$S", fmt.Sprint(*seed)).Replace(p.cmd))
}

//go:embed testdata/corpus/corpus.txt
var corpus string

var programs = func() (list []program) {
	for line := range strings.Lines(corpus) {
		part := strings.Split(line, "|")
		if strings.HasPrefix(line, "#") || len(part) != 5 {
			continue
		}
		p := program{name: strings.TrimSpace(part[0]), cmd: part[1], truth: append(strings.Fields(part[2]), strings.Fields(part[3])...)}
		if p.pinned = strings.Fields(part[4]); len(p.pinned) == 0 {
			p.pinned = p.truth
		}
		list = append(list, p)
	}
	return list
}()

// build builds the programs in C and Go, all or these, and tells which could not be.
func build(t *testing.T, bin string, these ...string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join("testdata", "corpus", "*"))
	for _, src := range files {
		name := filepath.Join(bin, strings.TrimSuffix(filepath.Base(src), filepath.Ext(src)))
		if len(these) > 0 && !slices.Contains(these, filepath.Base(name)) {
			continue
		}
		var cmd *exec.Cmd
		switch filepath.Ext(src) {
		case ".c":
			cmd = exec.Command("cc", "-O1", "-pthread", "-o", name, src)
		case ".go":
			cmd = exec.Command("go", "build", "-o", name, src)
		default:
			continue
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("not built: %s: %v %s", src, err, out)
		}
	}
}

// server starts the slow server and gives its address; empty when there is no Python.
func server(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("python3", "testdata/corpus/slow.py", fmt.Sprint(*seed))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		return ""
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var port int
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d/", port)
}

type answer struct {
	Bound, Confidence, Sentence string
	Split                       map[string]float64
	Sampler                     struct {
		Share float64 `json:"share_of_one_core"`
	}
}

var bounds = []string{"cpu", "gil", "runq", "net", "disk", "sleep", "lock", "mem", "spin", "mixed", "throttled", "opaque"}

// Not a test of the machine: it prints what was right, and fails only when a program could not be profiled.
func TestAccuracy(t *testing.T) {
	if !*accuracy {
		t.Skip("make accuracy runs it")
	}
	bin := t.TempDir()
	build(t, bin)
	url := server(t)
	table := map[string]map[string]int{}
	right, also, wrong, surelyWrong, abstained, total := 0, 0, 0, 0, 0, 0
	for _, setting := range strings.Split(*settings, ",") {
		for _, p := range programs {
			if !named(t, p.name) {
				continue
			}
			run := p.fill(bin, url)
			if run == nil {
				fmt.Printf("%-7s %-13s left out: no server\n", setting, p.name)
				continue
			}
			if _, err := exec.LookPath(run[0]); err != nil {
				fmt.Printf("%-7s %-13s left out: %v\n", setting, p.name, err)
				continue
			}
			for range *rounds {
				truth := p.truth
				argv := append([]string{*tandem, "profile", "-o", filepath.Join(bin, "out.json"), fmt.Sprintf("--probe-spin=%t", *probe), "--"}, run...)
				var hog *exec.Cmd
				switch setting {
				case "hog":
					hog = exec.Command("sh", "-c", "while :; do :; done")
					if err := hog.Start(); err != nil {
						t.Fatal(err)
					}
				case "pinned":
					if _, err := exec.LookPath("taskset"); err != nil {
						fmt.Println("no taskset here: nothing is pinned")
						continue
					}
					argv = append([]string{"taskset", "-c", "0"}, argv...)
					truth = p.pinned
				}
				cmd := exec.Command(argv[0], argv[1:]...)
				cmd.Dir = filepath.Join("testdata", "corpus")
				var errs bytes.Buffer
				cmd.Stderr = &errs
				begun := time.Now()
				err := cmd.Run()
				if hog != nil {
					_ = hog.Process.Kill()
					_ = hog.Wait()
				}
				var a answer
				b, rerr := os.ReadFile(filepath.Join(bin, "out.json"))
				if err != nil || rerr != nil || json.Unmarshal(b, &a) != nil {
					t.Errorf("%s: %v %v\n%s", p.name, err, rerr, &errs)
					continue
				}
				total++
				mark := "right"
				switch {
				case slices.Contains(truth, a.Bound):
					right++
					if a.Bound != truth[0] {
						also++
					}
				case a.Bound == "opaque" || a.Confidence == "low":
					abstained++
					mark = "unsure"
				default:
					wrong++
					mark = "WRONG"
					if a.Confidence == "high" {
						surelyWrong++
						mark = "SURELY WRONG"
					}
				}
				if table[truth[0]] == nil {
					table[truth[0]] = map[string]int{}
				}
				table[truth[0]][a.Bound]++
				fmt.Printf("%-7s %-13s %-6s %-6s %-6s %-6s %4.1fs %.2f%%  %s\n", setting, p.name, truth[0], a.Bound, a.Confidence, mark, time.Since(begun).Seconds(), 100*a.Sampler.Share, a.Sentence)
				if mark != "right" {
					fmt.Printf("        %v\n", a.Split)
				}
			}
		}
	}
	fmt.Printf("\nrows: the truth; columns: the answer\n%-10s", "")
	for _, b := range bounds {
		fmt.Printf("%10s", b)
	}
	for _, row := range bounds {
		if table[row] == nil {
			continue
		}
		fmt.Printf("\n%-10s", row)
		for _, col := range bounds {
			if n := table[row][col]; n > 0 {
				fmt.Printf("%10d", n)
			} else {
				fmt.Printf("%10s", ".")
			}
		}
	}
	fmt.Printf("\n\n%d of %d right (%d of them with the second label), %d unsure (opaque or low confidence), %d wrong, %d of them with high confidence; seed %d\n", right, total, also, abstained, wrong, surelyWrong, *seed)
}
