package expr

import (
	"bytes"
	"encoding/json"
	"testing"

	"tandem"
)

// A number is read without the library as the library reads it, or not at all.
func FuzzInteger(f *testing.F) {
	for _, s := range []string{"0", "-0", "7", "-7", "007", "-07", "999999999999999999", "1000000000000000000", "9223372036854775808", "-", "", "1.0", "1e3", " 1", "1 ", "+1", "--1", "1a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := integer(b)
		if !ok {
			return
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var x any
		if err := d.Decode(&x); err != nil {
			t.Fatalf("%q is %d, and no JSON: %v", b, got, err)
		}
		if want := numbers(x); want != any(got) {
			t.Errorf("%q is %v (%T), want %v (%T)", b, got, got, want, want)
		}
		if v, err := FromValue(tandem.Value{Kind: tandem.JSON, Data: b}); err != nil || v != any(got) {
			t.Errorf("%q is the value %v, %v", b, v, err)
		}
	})
}
