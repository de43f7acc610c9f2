package report

import (
	"net"
	"net/http"
	"strings"
)

// Handler serves the report at / as a page that renews itself. look reads the run again; it is called for every request.
//
// Only who names this machine by a loopback address is answered, so that no page of another origin reads along by a name that leads here.
func Handler(look func() (*Document, error)) http.Handler {
	serve := func(kind string, write func(*Document, http.ResponseWriter) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				http.Error(w, "this report is for this machine alone", http.StatusForbidden)
				return
			}
			d, err := look()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			if err := write(d, w); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serve("text/html; charset=utf-8", func(d *Document, w http.ResponseWriter) error { return d.HTML(w, true) }))
	mux.HandleFunc("GET /data.json", serve("application/json", func(d *Document, w http.ResponseWriter) error {
		b, err := d.Fresh()
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}))
	return mux
}
