package cluster

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"tandem"
)

// A head that is written here is what the library writes, byte for byte.
func TestHeadIsTheLibrarys(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[a-z0-9/@.-]{0,12}`), rapid.String())
	rapid.Check(t, func(r *rapid.T) {
		h := head{ID: text.Draw(r, "id"), Root: text.Draw(r, "root"), Shares: rapid.Int64().Draw(r, "shares"), Attempts: rapid.IntRange(-1, 5).Draw(r, "attempts"),
			Elapsed: rapid.Int64().Draw(r, "elapsed"), Same: rapid.Bool().Draw(r, "same"), Outcome: rapid.SampledFrom(append([]tandem.Outcome{"", "new one"}, tandem.Outcomes[:]...)).Draw(r, "outcome"),
			Service: rapid.Int64().Draw(r, "service"), Node: text.Draw(r, "node"), Step: text.Draw(r, "step"), Object: text.Draw(r, "object")}
		if rapid.Bool().Draw(r, "split") {
			h.Splits = []string{text.Draw(r, "splits")}
		}
		if rapid.Bool().Draw(r, "failed") {
			h.Error = &failure{Kind: "exception", Message: text.Draw(r, "message")}
		}
		got, err := h.marshal()
		if err != nil {
			r.Fatal(err)
		}
		want, err := json.Marshal(&h)
		if err != nil {
			r.Fatal(err)
		}
		if string(got) != string(want) {
			r.Fatalf("%s, want %s", got, want)
		}
		var back, library head
		if err := back.unmarshal(got); err != nil {
			r.Fatal(err)
		}
		if err := json.Unmarshal(got, &library); err != nil {
			r.Fatal(err)
		}
		if !reflect.DeepEqual(back, library) {
			r.Fatalf("%+v, want %+v", back, library)
		}
	})
}

// Whatever comes as a head is read as the library reads it, or refused as by the library.
func FuzzHead(f *testing.F) {
	for _, s := range []string{`{"id":"1","root":"1","shares":4611686018427387904}`, `{"id":"1"}`, `{"id":"1",}`, `{"shares":-1}`, `{"shares":007}`, `{"shares":0}`, `{"shares":1.5}`, `{"shares":9223372036854775808}`,
		`{"same":false}`, `{"same":true,"same":false}`, `{"ID":"a"}`, `{"id":"a","id":"b"}`, `{"id":null}`, `{"id": "a"}`, `{}`, `{`, ``, `{"id":"\u0041"}`, "{\"id\":\"\xff\"}", `{"id":"a"}}`, `{"id":"a"} `, `{"error":{"kind":"x"}}`, `{"id":"a""root":"b"}`,
		`{"attempts":9223372036854775807,"root":"b","id":"c"}`, `{"outcome":"ok","node":"n<1>"}`, `{"other":1,"id":"a"}`, `{"id":"a","crash":{}}`, `{"id":"a","root":"b","splits":["x"]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want head
		gerr, werr := got.unmarshal(b), json.Unmarshal(b, &want)
		if (gerr == nil) != (werr == nil) || werr == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v, %v", b, got, gerr, want, werr)
		}
	})
}
