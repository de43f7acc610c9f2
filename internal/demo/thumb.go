package demo

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"
)

// thumbWidth is the width of a thumbnail.
const thumbWidth = 512

// CrashMark in a file's name makes the demo's handlers abort on it. It stands for a decoder with a bug.
const CrashMark = "crash"

// Thumb reads a JPEG, makes it 512 pixels wide, blurs it a little and gives it back as JPEG. It ends the process on a file that is marked to
// crash: call it in a worker.
func Thumb(path string) ([]byte, error) {
	if strings.Contains(filepath.Base(path), CrashMark) {
		os.Exit(134)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := jpeg.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b := src.Bounds()
	if b.Dx() < 1 || b.Dy() < 1 {
		return nil, errors.New("the picture has no pixels")
	}
	w := min(thumbWidth, b.Dx())
	h := max(1, b.Dy()*w/b.Dx())
	// Halving first keeps the fine scaler's work small without aliasing.
	for b.Dx() >= 4*w {
		half := image.NewRGBA(image.Rect(0, 0, b.Dx()/2, b.Dy()/2))
		draw.ApproxBiLinear.Scale(half, half.Bounds(), src, b, draw.Src, nil)
		src, b = half, half.Bounds()
	}
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(dst, dst.Bounds(), src, b, draw.Src, nil)
	for range 3 { // three box blurs are close to a Gaussian one
		blur(dst.Pix, w, h, 4, dst.Stride)
		blur(dst.Pix, h, w, dst.Stride, 4)
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, dst, &jpeg.Options{Quality: 85}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// blur averages three neighbours along one direction: n pixels a line, step bytes apart, lines stride bytes apart.
func blur(pix []byte, n, lines, step, stride int) {
	for l := range lines {
		for c := range 3 {
			at := l*stride + c
			before := int(pix[at])
			for i := 1; i < n-1; i++ {
				p := at + i*step
				here := int(pix[p])
				pix[p] = byte((before + here + int(pix[p+step])) / 3)
				before = here
			}
		}
	}
}
