package report

import (
	"encoding/json"
	"io"
)

// Formats by the ending of the file's name.
var Formats = map[string]func(*Document, io.Writer) error{
	".html":    func(d *Document, w io.Writer) error { return d.HTML(w, false) },
	".pftrace": (*Document).Perfetto,
	".json":    (*Document).JSON,
}

// JSON writes the document, with as many rows as a page shows.
func (d *Document) JSON(w io.Writer) error {
	d.detail(d.forPage())
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}
