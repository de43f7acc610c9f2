// Command server is measured by its size: a program with Tandem's queue and its server inside.
package main

import (
	"context"
	"fmt"

	"tandem"
	"tandem/internal/queue/jetstream"
)

func main() {
	s, err := jetstream.Serve(jetstream.ServerConfig{Dir: "js"})
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := s.Connect()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Open(context.Background(), tandem.QueueConfig{Name: "size"}))
}
