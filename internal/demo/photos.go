package demo

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"tandem"
)

const (
	photoWidth, photoHeight = 1600, 1200
	distinct                = 8 // pictures that are painted; the others are these with a comment of their own
)

// makePhotos writes count photo-like JPEGs and two that crash their worker.
func makePhotos(ctx context.Context, dir string, count int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	painted := make([][]byte, min(distinct, count))
	errs := make([]error, len(painted))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range painted {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var b bytes.Buffer
			errs[i] = jpeg.Encode(&b, paint(uint64(i)), &jpeg.Options{Quality: 88})
			painted[i] = b.Bytes()
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for i := range count {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("photo-%03d.jpg", i+1)), comment(painted[i%len(painted)], fmt.Sprint("photo ", i+1)), 0o644); err != nil {
			return err
		}
	}
	return addCrashers(dir, painted[0])
}

func addCrashers(dir string, jpg []byte) error {
	for i := range 2 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.jpg", CrashMark, i+1)), jpg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// comment puts a comment segment behind the start mark, so that no two files are the same.
func comment(jpg []byte, text string) []byte {
	n := len(text) + 2
	out := append([]byte{}, jpg[:2]...)
	out = append(out, 0xff, 0xfe, byte(n>>8), byte(n))
	return append(append(out, text...), jpg[2:]...)
}

// paint makes a picture with what photographs have: slow shades, edges, fine grain.
func paint(seed uint64) image.Image {
	r := rand.New(rand.NewPCG(seed, 7))
	img := image.NewRGBA(image.Rect(0, 0, photoWidth, photoHeight))
	type disc struct{ x, y, r, red, green, blue float64 }
	discs := make([]disc, 14)
	for i := range discs {
		discs[i] = disc{r.Float64() * photoWidth, r.Float64() * photoHeight, 60 + r.Float64()*400, r.Float64() * 255, r.Float64() * 255, r.Float64() * 255}
	}
	var wave [photoWidth]float64
	f := 0.002 + r.Float64()*0.004
	for x := range wave {
		wave[x] = 40 * math.Sin(float64(x)*f)
	}
	noise := uint32(seed*2654435761 + 1)
	for y := range photoHeight {
		sky := float64(y) / photoHeight
		row := img.Pix[y*img.Stride:]
		var near []disc
		for _, d := range discs {
			if math.Abs(float64(y)-d.y) < d.r {
				near = append(near, d)
			}
		}
		for x := range photoWidth {
			red, green, blue := 90+wave[x]+100*sky, 120+60*sky-wave[x]/2, 220-140*sky
			for _, d := range near {
				dx, dy := float64(x)-d.x, float64(y)-d.y
				if q := dx*dx + dy*dy; q < d.r*d.r {
					light := 1 - q/(2*d.r*d.r)
					red, green, blue = d.red*light, d.green*light, d.blue*light
				}
			}
			noise ^= noise << 13
			noise ^= noise >> 17
			noise ^= noise << 5
			grain := float64(noise%17) - 8
			row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = clamp(red+grain), clamp(green+grain), clamp(blue+grain), 255
		}
	}
	return img
}

func clamp(v float64) byte { return byte(max(0, min(255, v))) }

// findPhotos lists the JPEGs below a directory.
func findPhotos(dir string) (list []string, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(abs, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := strings.ToLower(filepath.Ext(path)); !d.IsDir() && (ext == ".jpg" || ext == ".jpeg") {
			list = append(list, path)
		}
		return nil
	})
	if err == nil && len(list) == 0 {
		err = &tandem.Error{Op: "find photos below", On: dir, Kind: tandem.KindSource, Message: "no *.jpg and no *.jpeg there", Hint: "leave --photos out and the demo makes some"}
	}
	return list, err
}

// linkPhotos puts the user's photos, by link, and two that crash into dir.
func linkPhotos(from, dir string) (count int, err error) {
	list, err := findPhotos(from)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	for i, path := range list {
		if err := os.Symlink(path, filepath.Join(dir, fmt.Sprintf("photo-%05d.jpg", i+1))); err != nil {
			return 0, err
		}
	}
	return len(list), addCrashers(dir, []byte("not read: the handler aborts first"))
}
