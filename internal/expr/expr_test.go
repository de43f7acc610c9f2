package expr

import (
	"errors"
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
		tpl, err := Compile(c.src, WithEnv(map[string]string{"HOME": "/home/me"}))
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
	tpl, err := Compile("${{ prev.n }}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tpl.Text(task(jsonValue(`{"n":12345678901234567890}`))); err != nil || got != "12345678901234567890" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestMistakesAreFoundAtOnce(t *testing.T) {
	for src, want := range map[string]string{
		"${{ itm }}": "unknown name itm", "${{ item.pth }}": "has no field pth", "${{ steps.a }}": "not available", "${{ secrets.X }}": "not available",
		"${{ }}": "is empty", "${{ prev": "has no `}}`", "${{ prev + }}": "unexpected",
	} {
		_, err := Compile("lead " + src)
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Message, want) || e.Hint == "" && want != "" || e.Offset < 5 || e.Offset > len("lead "+src) {
			t.Errorf("%s: %#v, want %q inside the string", src, err, want)
		}
	}
}

func TestWhatFailsAtRunTimeNamesTheExpression(t *testing.T) {
	tpl, err := Compile("${{ prev.a.b }}")
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
	a, err := CompileAny(map[string]any{"path": "${{ item.path }}", "n": int64(3), "list": []any{"${{ prev }}", true, nil}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Value(task(jsonValue(`{"x":1}`)))
	if want := `{"list":[{"x":1},true,null],"n":3,"path":"/data/photos/a b.jpg"}`; err != nil || string(got.Data) != want {
		t.Errorf("got %s, %v; want %s", got.Data, err, want)
	}
	if _, err := CompileAny(map[string]any{"a": []any{"${{ no }}"}}); err == nil || !strings.Contains(err.Error(), ".a[0]") {
		t.Errorf("got %v, want the place", err)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"${{ prev }}", "a${{ item.id }}b", "$${{", "${{ {\"a\": 1} }}", "${{ '}}' }}", "${{ prev[0].x ?? 1 }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tpl, err := Compile(src)
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
