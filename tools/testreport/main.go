// Command testreport reads what `go test -json` prints and shows what a person wants of it: go test's own closing line for each
// package, everything that a failed test or package printed, the tests that were skipped, and at the end, alone on its line,
// "N passed, N failed". It exits with 1 when anything failed or when nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	ok, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events, with the variant in brackets
	Test       string
	Output     string
}

// key names a test, or a package when test is empty.
type key struct{ pkg, test string }

type tally struct {
	out            *bufio.Writer
	printed        map[key][]string
	failedIn       map[string]bool // packages with a failed test
	passed, failed int
}

// report returns whether tests ran and all of them passed.
func report(in io.Reader, out io.Writer) (ok bool, err error) {
	t := &tally{out: bufio.NewWriter(out), printed: map[key][]string{}, failedIn: map[string]bool{}}
	lines := bufio.NewReader(in)
	for {
		line, readErr := lines.ReadBytes('\n')
		if len(line) > 0 {
			t.line(line)
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return false, readErr
		}
	}
	fmt.Fprintf(t.out, "%d passed, %d failed\n", t.passed, t.failed)
	return t.failed == 0 && t.passed > 0, t.out.Flush()
}

func (t *tally) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		t.show(string(line)) // the go command speaks, not a test
		return
	}
	switch e.Action {
	case "build-output":
		t.show(e.Output)
	case "output":
		k := key{e.Package, e.Test}
		t.printed[k] = append(t.printed[k], e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			t.endPackage(e)
		} else {
			t.endTest(e)
		}
	}
}

func (t *tally) endTest(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "pass":
		t.passed++
	case "skip":
		t.show("skipped: " + e.Package + " " + e.Test + "\n")
		t.show(t.printed[k]...)
	case "fail":
		t.failed++
		t.failedIn[e.Package] = true
		t.show(t.printed[k]...)
	}
	delete(t.printed, k)
}

// endPackage shows the closing line, and when the package failed also what else it printed. A package that fails without a
// failed test did not build, crashed, ran out of time or left something behind: it counts as one failure, and the output
// of the tests that it took down is shown.
func (t *tally) endPackage(e event) {
	if e.Action == "fail" && !t.failedIn[e.Package] {
		t.failed++
		for k, printed := range t.printed {
			if k.pkg == e.Package && k.test != "" {
				t.show(printed...)
			}
		}
	}
	for _, line := range t.printed[key{e.Package, ""}] {
		if e.Action == "fail" || isClosing(line) {
			t.show(line)
		}
	}
	for k := range t.printed {
		if k.pkg == e.Package {
			delete(t.printed, k)
		}
	}
	t.out.Flush()
}

// isClosing recognises the line with which the go command closes a package that passed.
func isClosing(line string) bool {
	return strings.HasPrefix(line, "ok  ") || strings.HasPrefix(line, "?   ")
}

func (t *tally) show(lines ...string) {
	for _, line := range lines {
		t.out.WriteString(line)
	}
}
