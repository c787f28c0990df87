// Verifies assertions as the how-to shows: one a line of standard input, one answer a line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
)

func main() {
	keysURL = os.Args[1]
	verify, err := verifier(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		claims, err := verify(lines.Text())
		if err != nil {
			fmt.Printf("refused: %q\n", err.Error())
		} else {
			fmt.Println("taken:", claims["sub"])
		}
	}
}
