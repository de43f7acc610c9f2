package expr

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"tandem"
)

func task(prev tandem.Value) *tandem.Task {
	return &tandem.Task{ID: "photos/a b.jpg", Source: tandem.TextValue("/data/photos/a b.jpg"), Value: prev}
}

func jsonValue(s string) tandem.Value { return tandem.Value{Kind: tandem.JSON, Data: []byte(s)} }

func TestTemplates(t *testing.T) {
	bytes := tandem.Value{Kind: tandem.Bytes, Data: []byte{0, 255}}
	obj := jsonValue(`{"n":12345678901234567890,"m":3,"f":0.5,"list":[1,"x",null]}`)
	for _, c := range []struct {
		src  string
		prev tandem.Value
		want tandem.Value
	}{
		{"plain", obj, tandem.TextValue("plain")},
		{"", obj, tandem.TextValue("")},
		{"${{ prev }}", bytes, bytes},
		{"${{prev}}", obj, obj},
		{"${{ item }}", obj, tandem.TextValue("/data/photos/a b.jpg")},
		{"${{ item.value }}", obj, tandem.TextValue("/data/photos/a b.jpg")},
		{"x ${{ prev }} y", bytes, tandem.Value{Kind: tandem.Text, Data: []byte("x \x00\xff y")}},
		{"n=${{ prev.m }}", obj, tandem.TextValue("n=3")},
		{"${{ prev.m + 1 }}", obj, jsonValue("4")},
		{"${{ prev.list }}", obj, jsonValue(`[1,"x",null]`)},
		{"${{ prev.list[2] }}!", obj, tandem.TextValue("!")},
		{"${{ item.name }}|${{ item.stem }}|${{ item.ext }}|${{ item.dir }}", obj, tandem.TextValue("a b.jpg|a b|.jpg|/data/photos")},
		{"${{ item.id }}", obj, tandem.TextValue("photos/a b.jpg")},
		{"${{ env.HOME }}/x", obj, tandem.TextValue("/home/me/x")},
		{"$${{ prev }}", obj, tandem.TextValue("${{ prev }}")},
		{`${{ "}}" }}`, obj, tandem.TextValue("}}")},
		{`${{ {"a": prev.m} }}`, obj, jsonValue(`{"a":3}`)},
		{"${{ prev == nil }}", tandem.Value{}, jsonValue("true")},
		{"${{ len(prev) }}", tandem.TextValue("four"), jsonValue("4")},
	} {
		tpl, err := Compile(c.src, &Names{Facts: &Facts{Env: map[string]string{"HOME": "/home/me"}}})
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got, err := tpl.Value(task(c.prev))
		if err != nil || got.Kind != c.want.Kind || string(got.Data) != string(c.want.Data) {
			t.Errorf("%s: got %s %q (%v), want %s %q", c.src, got.Kind, got.Data, err, c.want.Kind, c.want.Data)
		}
	}
}

func TestBigNumbersStayExact(t *testing.T) {
	tpl, err := Compile("${{ prev.n }}", &Names{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tpl.Text(task(jsonValue(`{"n":12345678901234567890}`))); err != nil || got != "12345678901234567890" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestMistakesAreFoundAtOnce(t *testing.T) {
	for src, want := range map[string]string{
		"${{ itm }}": "unknown name itm", "${{ item.pth }}": "has no field pth", "${{ steps.a }}": "no such step", "${{ params.m }}": "no such parameter", "${{ items }}": "batch only",
		"${{ steps }}${{ steps[item.id] }}": "known before the run",
		"${{ }}":                            "is empty", "${{ prev": "has no `}}`", "${{ prev + }}": "unexpected",
	} {
		_, err := Compile("lead "+src, &Names{Facts: &Facts{Params: map[string]any{"n": 3}}, Steps: []string{"parse"}})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Message, want) || e.Hint == "" && want != "" || e.Offset < 5 || e.Offset > len("lead "+src) {
			t.Errorf("%s: %#v, want %q inside the string", src, err, want)
		}
	}
}

func TestWhatFailsAtRunTimeNamesTheExpression(t *testing.T) {
	tpl, err := Compile("${{ prev.a.b }}", &Names{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tpl.Value(task(jsonValue(`{"a":3}`))); err == nil || !strings.Contains(err.Error(), "${{ prev.a.b }}") {
		t.Errorf("got %v", err)
	}
	if _, err := tpl.Value(task(tandem.Value{Kind: tandem.Pickle})); err == nil || !strings.Contains(err.Error(), "Python object") {
		t.Errorf("pickle: %v", err)
	}
}

func TestAny(t *testing.T) {
	a, err := CompileAny(map[string]any{"path": "${{ item.path }}", "n": int64(3), "list": []any{"${{ prev }}", true, nil}}, &Names{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Value(task(jsonValue(`{"x":1}`)))
	if want := `{"list":[{"x":1},true,null],"n":3,"path":"/data/photos/a b.jpg"}`; err != nil || string(got.Data) != want {
		t.Errorf("got %s, %v; want %s", got.Data, err, want)
	}
	if _, err := CompileAny(map[string]any{"a": []any{"${{ no }}"}}, &Names{}); err == nil || !strings.Contains(err.Error(), ".a[0]") {
		t.Errorf("got %v, want the place", err)
	}
}

func TestEverythingThatCanBeNamed(t *testing.T) {
	n := &Names{Facts: &Facts{Params: map[string]any{"width": int64(512)}, Secrets: map[string]string{"TOKEN": "s3cret"}, Flow: "photos", Run: "r1", Tmp: t.TempDir()}, Steps: []string{"parse", "skip-empty"}}
	x := task(tandem.TextValue("now"))
	x.Root, x.Earlier = x.ID, []tandem.Value{jsonValue(`{"text":"hello"}`)}
	for src, want := range map[string]string{
		"${{ params.width / 2 }}": "256", "Bearer ${{ secrets.TOKEN }}": "Bearer s3cret", "${{ run.flow }}-${{ run.id }}": "photos-r1",
		"${{ steps.parse.text }}": "hello", `${{ steps["parse"].text }}`: "hello", "${{ steps.parse }}": `{"text":"hello"}`,
		`${{ steps["skip-empty"] == nil }}`: "true", "${{ len(item.key) }}": "32",
	} {
		tpl, err := Compile(src, n)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := tpl.Text(x); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", src, got, err, want)
		}
	}
	tpl, err := Compile("${{ tmp.file('.jpg') }}", n)
	if err != nil || !tpl.Tmp() {
		t.Fatalf("%v", err)
	}
	path, err := tpl.Text(x)
	again, _ := tpl.Text(x)
	if err != nil || path != again || !strings.HasPrefix(path, n.Tmp) || !strings.HasSuffix(path, "/file.jpg") {
		t.Errorf("%q, %q, %v: want one path below %s", path, again, err, n.Tmp)
	}
	other := *x
	other.ID += "/2"
	if p2, _ := tpl.Text(&other); p2 == path || !strings.HasPrefix(p2, path[:len(path)-len("file.jpg")]) {
		t.Errorf("%q beside %q: want a directory of its own below that of its root", p2, path)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := n.RemoveTmp(x.Root); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(n.Tmp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBatch(t *testing.T) {
	a, b := task(tandem.TextValue("x")), task(tandem.TextValue("y"))
	b.ID = "second"
	g := &tandem.Task{Value: tandem.ListOf([]tandem.Value{a.Value, b.Value, jsonValue("[3]")}), Batch: []*tandem.Task{a, b}}
	for src, want := range map[string]string{"${{ prev }}": `["x","y",[3]]`, "${{ len(prev) }}": "3", `${{ map(items, .id) }}`: `["photos/a b.jpg","second"]`} {
		tpl, err := Compile(src, &Names{Batch: true})
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if got, err := tpl.Value(g); err != nil || string(got.Data) != want || got.Kind != tandem.JSON {
			t.Errorf("%s: got %s %s, %v; want %s", src, got.Kind, got.Data, err, want)
		}
	}
	if _, err := Compile("${{ item.id }}", &Names{Batch: true}); err == nil || !strings.Contains(err.Error(), "no single") {
		t.Errorf("item in a batch: %v", err)
	}
}

func TestFixedTemplatesKnowNoItem(t *testing.T) {
	n := &Names{Fixed: true, Facts: &Facts{Params: map[string]any{"dir": "in"}}}
	for _, src := range []string{"${{ item.id }}", "${{ prev }}", "${{ tmp.file('x') }}"} {
		if _, err := Compile(src, n); err == nil || !strings.Contains(err.Error(), "not there yet") {
			t.Errorf("%s: %v", src, err)
		}
	}
	tpl, err := Compile("${{ params.dir }}/**/*.pdf", n)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tpl.Text(nil); got != "in/**/*.pdf" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBoolWantsTrueOrFalse(t *testing.T) {
	for src, want := range map[string]string{"${{ len(prev) > 2 }}": "true", "${{ prev == 'x' }}": "false", "${{ len(prev) }}": "want true or false"} {
		tpl, err := Compile(src, &Names{})
		if err != nil {
			t.Fatal(err)
		}
		yes, err := tpl.Bool(task(tandem.TextValue("four")))
		if got := fmt.Sprint(yes); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", src, yes, err, want)
		}
	}
}

func TestShellValuesAreWords(t *testing.T) {
	script, params, err := CompileShell("cat ${{ item.path }} | # it's ${{ item.id }}\n tr 'a' \"b\" > ${{ item.stem }}.txt", &Names{})
	if want := "cat \"${1}\" | # it's \"${2}\"\n tr 'a' \"b\" > \"${3}\".txt"; err != nil || script != want || len(params) != 3 {
		t.Errorf("got %s, %d, %v", script, len(params), err)
	}
	for _, src := range []string{`echo "${{ prev }}"`, `echo 'x ${{ prev }}'`, `echo "a\"${{ prev }}"`} {
		if _, _, err := CompileShell(src, &Names{}); err == nil || !strings.Contains(err.Error(), "quotes") {
			t.Errorf("%s: %v", src, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"${{ prev }}", "a${{ item.id }}b", "$${{", "${{ {\"a\": 1} }}", "${{ '}}' }}", "${{ prev[0].x ?? 1 }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tpl, err := Compile(src, &Names{Steps: []string{"a"}})
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Offset < 0 || e.Offset > len(src)+1 {
				t.Fatalf("%q: %#v", src, err)
			}
			return
		}
		for _, prev := range []tandem.Value{{}, jsonValue(`{"a":[1]}`), tandem.TextValue("x")} {
			_, _ = tpl.Value(task(prev))
			_, _ = tpl.Text(task(prev))
		}
	})
}
