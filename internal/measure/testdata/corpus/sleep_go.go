package main

import (
	"os"
	"strconv"
	"time"
)

func main() {
	seed, _ := strconv.Atoi(os.Args[1])
	for range 60 {
		time.Sleep(time.Duration(40+seed%10) * time.Millisecond)
	}
}
