package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem"
)

type point struct{ X, Y int }

func jsonValue(s string) tandem.Value { return tandem.Value{Kind: tandem.JSON, Data: []byte(s)} }

// batched registers nothing: it gives what a handler says of a batch.
func batched[In, Out any](f func(context.Context, In) (Out, error)) handler {
	name := "test " + reflect.TypeFor[In]().String() + " " + reflect.TypeFor[Out]().String()
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		delete(handlers, name)
	}()
	Handle(name, f)
	h, _ := lookup(name)
	return h
}

func same[T any](_ context.Context, x T) (T, error) { return x, nil }

func TestListsBecomeSlices(t *testing.T) {
	texts := tandem.ListOf([]tandem.Value{tandem.TextValue("a"), {Kind: tandem.Bytes, Data: []byte("b")}})
	numbers := tandem.ListOf([]tandem.Value{jsonValue("1"), jsonValue("-2"), {}})
	mixed := tandem.ListOf([]tandem.Value{tandem.TextValue("a"), {Kind: tandem.Bytes, Data: []byte("b")}, {}, jsonValue(`{"X":1}`)})
	points := tandem.ListOf([]tandem.Value{jsonValue(`{"X":1,"Y":2}`), jsonValue(`{"X":3}`)})
	decode := func(v tandem.Value, dst any) any {
		if err := Decode(v, dst); err != nil {
			return err.Error()
		}
		return reflect.ValueOf(dst).Elem().Interface()
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"strings", decode(texts, new([]string)), []string{"a", "b"}},
		{"bytes", decode(texts, new([][]byte)), [][]byte{[]byte("a"), []byte("b")}},
		{"ints", decode(numbers, new([]int)), []int{1, -2, 0}},
		{"structs", decode(points, new([]point)), []point{{1, 2}, {3, 0}}},
		{"pointers", len(decode(points, new([]*point)).([]*point)), 2},
		{"any", decode(mixed, new([]any)), []any{"a", []byte("b"), nil, map[string]any{"X": 1.0}}},
		{"one any", decode(mixed, new(any)), []any{"a", []byte("b"), nil, map[string]any{"X": 1.0}}},
		{"values", decode(texts, new([]tandem.Value)), []tandem.Value{tandem.TextValue("a"), {Kind: tandem.Bytes, Data: []byte("b")}}},
		{"the list itself", decode(texts, new(tandem.Value)), texts},
		{"an empty list", decode(tandem.ListOf(nil), new([]int)), []int{}},
		{"a JSON list", decode(jsonValue("[1,2]"), new([]int)), []int{1, 2}},
		{"no list is wanted", decode(texts, new(string)), "the handler wants string, the item's value is a list of 2"},
		{"bytes are no list", decode(texts, new([]byte)), "the handler wants []uint8, the item's value is a list of 2"},
		{"an element of another kind", decode(mixed, new([]int)), "element 1 of 4: the handler wants *int, the item's value is text"},
		{"broken", decode(tandem.Value{Kind: tandem.List, Data: []byte{2, 9, 0, 0, 0, 'a'}}, new([]string)), "the bytes of a list end inside a value"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got %#v, want %#v", c.name, c.got, c.want)
		}
	}
}

func TestABatchGivesOneValueForEachElement(t *testing.T) {
	abc := tandem.ListOf([]tandem.Value{tandem.TextValue("a"), tandem.TextValue("b"), tandem.TextValue("c")})
	seq := func(n int) handler {
		h := handler{in: reflect.TypeFor[[]string]()}
		h.batch = func(_ context.Context, _ tandem.Value, _ int, give func(tandem.Value)) error {
			for range n {
				give(jsonValue("1"))
			}
			return nil
		}
		return h
	}
	for _, c := range []struct {
		name   string
		h      handler
		in     tandem.Value
		kwargs bool
		want   string // the values, or the error
	}{
		{"strings", batched(same[[]string]), abc, false, "text a, text b, text c"},
		{"bytes", batched(same[[][]byte]), abc, false, "bytes a, bytes b, bytes c"},
		{"any", batched(same[any]), abc, false, "text a, text b, text c"},
		{"values", batched(same[[]tandem.Value]), abc, false, "text a, text b, text c"},
		{"the list itself", batched(same[tandem.Value]), abc, false, "text a, text b, text c"},
		{"structs", batched(same[[]point]), tandem.ListOf([]tandem.Value{jsonValue(`{"X":1}`), {}}), false, `json {"X":1,"Y":0}, json {"X":0,"Y":0}`},
		{"a value alone", batched(same[[]string]), tandem.TextValue("x"), false, "text x"},
		{"an empty batch", batched(same[[]string]), tandem.ListOf(nil), false, ""},
		{"nothing", batched(func(context.Context, []string) (any, error) { return nil, nil }), abc, false, "null , null , null "},
		{"too few", batched(func(context.Context, []string) ([]int, error) { return []int{1}, nil }), abc, false, "error: the handler gave 1 values for a batch of 3"},
		{"none of a slice", batched(func(context.Context, []string) ([]int, error) { return nil, nil }), abc, false, "error: the handler gave 0 values for a batch of 3"},
		{"too many", seq(1000), abc, false, "error: the handler gave 1000 values for a batch of 3"},
		{"one by one", seq(3), abc, false, "json 1, json 1, json 1"},
		{"no slice in an any", batched(func(context.Context, []string) (any, error) { return 7, nil }), abc, false, "error: the handler gave a value of type int for a batch of 3"},
		{"a list in a list", batched(func(context.Context, []string) ([]tandem.Value, error) { return []tandem.Value{abc, abc, abc}, nil }), abc, false, "error: encode the result: a list cannot be the element of a list"},
		{"an element that is no JSON", batched(func(context.Context, []string) ([]any, error) { return []any{1, make(chan int), 3}, nil }), abc, false, "error: encode the result: a value of type chan int cannot be sent on: json: unsupported type: chan int"},
		{"its own error", batched(func(context.Context, []string) ([]int, error) { return []int{1}, io.EOF }), abc, false, "error: EOF"},
		{"named arguments", batched(func(_ context.Context, p struct{ List []int }) ([]int, error) { return p.List, nil }), jsonValue(`{"List":[4,5]}`), true, "json 4, json 5"},
	} {
		f, err := c.h.batches(c.kwargs)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		size := 0
		if err := f(t.Context(), c.in, func(v tandem.Value) {
			got = append(got, v.Kind.String()+" "+string(v.Data))
			size++
		}); err != nil {
			got = []string{"error: " + err.Error()}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
		if size > 3 {
			t.Errorf("%s: %d values were kept", c.name, size)
		}
	}
	for _, h := range []handler{batched(same[string]), batched(same[[]byte]), batched(func(context.Context, []string) ([]byte, error) { return nil, nil })} {
		if _, err := h.batches(false); err == nil {
			t.Errorf("%v to %v is no batch handler", h.in, h.out)
		}
	}
}

func TestHandleSeqInBatches(t *testing.T) {
	HandleSeq("doubles", func(_ context.Context, list []int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for _, n := range list {
				if !yield(2*n, nil) {
					return
				}
			}
		}
	})
	h, _ := lookup("doubles")
	f, err := h.batches(false)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	err = f(t.Context(), tandem.ListOf([]tandem.Value{jsonValue("1"), jsonValue("20")}), func(v tandem.Value) { got = append(append(got, v.Data...), ' ') })
	if err != nil || string(got) != "2 40 " {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRetryAndPermanent(t *testing.T) {
	cause := errors.New("busy")
	if Retry(nil, time.Second) != nil || Permanent(nil) != nil {
		t.Error("no error became one")
	}
	inner := &tandem.Error{Op: "get", On: "x", Kind: tandem.KindStatus, Reason: "503", Message: "unavailable", Hint: "wait"}
	for _, c := range []struct {
		err     error
		again   tandem.Again
		after   time.Duration
		kind    string
		reason  string
		message string // of the ERROR frame
	}{
		{Retry(cause, 5*time.Second), tandem.AgainYes, 5 * time.Second, tandem.KindException, "", "busy"},
		{Retry(cause, -time.Second), tandem.AgainYes, 0, tandem.KindException, "", "busy"},
		{Permanent(cause), tandem.AgainNever, 0, tandem.KindException, "", "busy"},
		{Permanent(Retry(cause, time.Second)), tandem.AgainNever, 0, tandem.KindException, "", "busy"},
		{Retry(Permanent(cause), time.Second), tandem.AgainYes, time.Second, tandem.KindException, "", "busy"},
		{wrapped{"fetch", Retry(cause, time.Second)}, tandem.AgainYes, time.Second, tandem.KindException, "", "fetch: busy"},
		{errors.Join(io.EOF, Permanent(cause)), tandem.AgainNever, 0, tandem.KindException, "", "EOF\nbusy"},
		{Retry(inner, time.Minute), tandem.AgainYes, time.Minute, tandem.KindStatus, "503", "unavailable"},
		{Retry(wrapped{"fetch", inner}, 0), tandem.AgainYes, 0, tandem.KindStatus, "503", "fetch: get x: unavailable"},
		{inner, tandem.AgainUnsaid, 0, tandem.KindStatus, "503", "unavailable"},
		{cause, tandem.AgainUnsaid, 0, tandem.KindException, "", "busy"},
	} {
		got := errorBody(c.err).Error("")
		if got.Again != c.again || got.After != c.after || got.Kind != c.kind || got.Reason != c.reason || got.Message != c.message {
			t.Errorf("%v: got %+v, want %+v", c.err, got, c)
		}
	}
	err := Retry(cause, time.Second)
	if !errors.Is(err, cause) || err.Error() != "busy" {
		t.Errorf("%v hides its cause", err)
	}
	// The same error returned by two handlers at once: each engine writes into an error of its own.
	one, _ := errors.AsType[*tandem.Error](err)
	two, _ := errors.AsType[*tandem.Error](err)
	if one == two {
		t.Error("two handlers share one *tandem.Error")
	}
	if e, _ := errors.AsType[*tandem.Error](Retry(inner, time.Second)); e == inner || inner.Again != tandem.AgainUnsaid {
		t.Error("Retry wrote into the error that it was given")
	}
}

type wrapped struct {
	what string
	err  error
}

func (w wrapped) Error() string { return w.what + ": " + w.err.Error() }
func (w wrapped) Unwrap() error { return w.err }

// FuzzList: whatever the bytes, reading them as a list gives an error or values that make the same list again; both counts agree.
func FuzzList(f *testing.F) {
	f.Add(tandem.ListOf([]tandem.Value{tandem.TextValue("a"), jsonValue("[1]"), {}}).Data)
	f.Add([]byte{2, 255, 255, 255, 255, 1})
	f.Add([]byte{5, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		parts, err := tandem.Value{Kind: tandem.List, Data: b}.Values()
		n, err2 := count(b)
		if (err == nil) != (err2 == nil) || err == nil && n != len(parts) {
			t.Fatalf("%d values and %v, counted %d and %v", len(parts), err, n, err2)
		}
		if err == nil && !bytes.Equal(tandem.ListOf(parts).Data, b) {
			t.Fatalf("%x became %x", b, tandem.ListOf(parts).Data)
		}
		var list []any
		_ = Decode(tandem.Value{Kind: tandem.List, Data: b}, &list)
	})
}
