package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"

	"tandem"
)

// handler is a registered handler: as it runs alone and as it runs in batches.
type handler struct {
	run   Func
	batch func(ctx context.Context, in tandem.Value, n int, give func(tandem.Value)) error // n elements; -1 when only Tandem knows

	in, out reflect.Type // nil for a raw handler and for what gives its values one by one
}

// batches is h as it runs with "batch": a list in, a value out for each element. The error says why it cannot.
func (h handler) batches(kwargs bool) (Func, error) {
	if h.in != nil && !kwargs && !takesList(h.in) {
		return nil, fmt.Errorf("the handler takes %v, a batch is a list", h.in)
	}
	if h.out != nil && !givesList(h.out) {
		return nil, fmt.Errorf("the handler gives %v, a batch needs a value for each element", h.out)
	}
	return func(ctx context.Context, in tandem.Value, give func(tandem.Value)) error {
		n := -1
		if !kwargs {
			if in.Kind != tandem.List {
				in = tandem.ListOf([]tandem.Value{in})
			}
			var err error
			if n, err = count(in.Data); err != nil {
				return err
			}
		}
		got := 0
		err := h.batch(ctx, in, n, func(v tandem.Value) {
			for _, v := range spread(v) {
				if got++; n < 0 || got <= n {
					give(v)
				}
			}
		})
		if err == nil && n >= 0 && got != n {
			err = &tandem.Error{Kind: tandem.KindException, Reason: "batch", Message: fmt.Sprintf("the handler gave %d values for a batch of %d", got, n),
				Hint: "with batch:, a handler takes a list and gives one value for each element, in the same order"}
		}
		return err
	}, nil
}

// spread is a given value as those it stands for: a list stands for its elements. One that cannot be read is refused when it is sent.
func spread(v tandem.Value) []tandem.Value {
	if v.Kind == tandem.List {
		if parts, err := v.Values(); err == nil {
			return parts
		}
	}
	return []tandem.Value{v}
}

var (
	anyType   = reflect.TypeFor[any]()
	valueType = reflect.TypeFor[tandem.Value]()
)

func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8
}
func takesList(t reflect.Type) bool { return isList(t) || t == anyType || t == valueType }
func givesList(t reflect.Type) bool { return isList(t) || t == anyType || t == valueType }

// giveList gives the elements of what a batch handler returned; nil in an interface stands for no value for each of n elements.
func giveList(out any, n int, give func(tandem.Value)) error {
	switch list := out.(type) {
	case nil:
		for range max(n, 1) {
			give(tandem.Value{})
		}
		return nil
	case tandem.Value:
		give(list)
		return nil
	case []tandem.Value:
		return giveEach(list, give)
	case []any:
		return giveEach(list, give)
	case []string:
		return giveEach(list, give)
	case [][]byte:
		return giveEach(list, give)
	}
	list := reflect.ValueOf(out)
	if !isList(list.Type()) {
		return &tandem.Error{Kind: tandem.KindException, Reason: "batch", Message: fmt.Sprintf("the handler gave a value of type %T for a batch of %d", out, n),
			Hint: "return a slice with one value for each element"}
	}
	for i := range list.Len() {
		if err := giveOne(list.Index(i).Interface(), give); err != nil {
			return err
		}
	}
	return nil
}

func giveEach[T any](list []T, give func(tandem.Value)) error {
	for _, x := range list {
		if err := giveOne(x, give); err != nil {
			return err
		}
	}
	return nil
}

func giveOne(x any, give func(tandem.Value)) error {
	v, err := Encode(x)
	if err == nil && v.Kind == tandem.List {
		err = &tandem.Error{Op: "encode the result", Kind: tandem.KindUnserialisable, Message: "a list cannot be the element of a list"}
	}
	if err != nil {
		return err
	}
	give(v)
	return nil
}

// count is how many values a list holds.
func count(b []byte) (n int, err error) {
	for ; len(b) > 0; n++ {
		if len(b) < 5 || tandem.Kind(b[0]) >= tandem.List || uint64(binary.LittleEndian.Uint32(b[1:])) > uint64(len(b)-5) {
			return 0, fmt.Errorf("the bytes of a list end inside a value")
		}
		b = b[5+binary.LittleEndian.Uint32(b[1:]):]
	}
	return n, nil
}

// decodeList reads a list into dst: *[]T, where T is anything that Decode takes, or *any, which becomes []any.
func decodeList(v tandem.Value, dst any) error {
	parts, err := v.Values()
	if err != nil {
		return err
	}
	switch d := dst.(type) {
	case *[]tandem.Value:
		*d = parts
		return nil
	case *any:
		list := make([]any, len(parts))
		*d = list
		return decodeEach(parts, list)
	case *[]any:
		*d = make([]any, len(parts))
		return decodeEach(parts, *d)
	case *[]string:
		*d = make([]string, len(parts))
		return decodeEach(parts, *d)
	case *[][]byte:
		*d = make([][]byte, len(parts))
		return decodeEach(parts, *d)
	}
	t := reflect.TypeOf(dst).Elem()
	if !isList(t) {
		return fmt.Errorf("the handler wants %v, the item's value is a list of %d", t, len(parts))
	}
	list := reflect.MakeSlice(t, len(parts), len(parts))
	for i, part := range parts {
		if err := Decode(part, list.Index(i).Addr().Interface()); err != nil {
			return fmt.Errorf("element %d of %d: %w", i+1, len(parts), err)
		}
	}
	reflect.ValueOf(dst).Elem().Set(list)
	return nil
}

func decodeEach[T any](parts []tandem.Value, list []T) error {
	for i, part := range parts {
		if err := Decode(part, &list[i]); err != nil {
			return fmt.Errorf("element %d of %d: %w", i+1, len(parts), err)
		}
	}
	return nil
}
