package demo

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// api is the server that the demo uploads to: it answers 201 after 80 to 400 ms, decided by the upload's bytes.
type api struct {
	URL    string
	server *http.Server

	mu       sync.Mutex
	uploads  int
	inFlight int
	most     int
}

func startAPI() (*api, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &api{URL: "http://" + l.Addr().String() + "/upload"}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", a.upload)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := a.server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			fmt.Println("the demo's API stopped:", err)
		}
	}()
	return a, nil
}

func latency(body []byte) time.Duration {
	h := fnv.New32a()
	h.Write(body)
	return 80*time.Millisecond + time.Duration(h.Sum32()%321)*time.Millisecond
}

func (a *api) upload(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.inFlight++
	a.most = max(a.most, a.inFlight)
	a.mu.Unlock()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	if err == nil {
		select {
		case <-time.After(latency(body)):
		case <-r.Context().Done():
		}
	}
	a.mu.Lock()
	a.inFlight--
	if err == nil {
		a.uploads++
	}
	a.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"bytes":%d}`, len(body))
}

// take gives the counts since the last call.
func (a *api) take() (uploads, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	uploads, most = a.uploads, a.most
	a.uploads, a.most = 0, 0
	return uploads, most
}

func (a *api) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
	_ = a.server.Close()
}
