package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in, want string
		ok       bool
	}{
		"what passes is a line": {
			in: `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"m/a","Test":"TestA/sub"}
{"Action":"pass","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.1s\n"}
{"Action":"pass","Package":"m/a"}
{"Action":"output","Package":"m/b","Output":"?   \tm/b\t[no test files]\n"}
{"Action":"skip","Package":"m/b"}
`,
			want: "ok  \tm/a\t0.1s\n?   \tm/b\t[no test files]\n2 passed, 0 failed\n",
			ok:   true,
		},
		"what fails is shown whole": {
			in: `{"Action":"output","Package":"m/a","Test":"TestA","Output":"want 1\n"}
{"Action":"output","Package":"m/a","Test":"TestB","Output":"quiet\n"}
{"Action":"pass","Package":"m/a","Test":"TestB"}
{"Action":"fail","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a"}
`,
			want: "want 1\nFAIL\tm/a\t0.1s\n1 passed, 1 failed\n",
		},
		"a crash counts, with what the running test printed": {
			in: `{"Action":"output","Package":"m/a","Test":"TestA","Output":"panic: odd\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a"}
`,
			want: "panic: odd\nFAIL\tm/a\t0.1s\n0 passed, 1 failed\n",
		},
		"what does not build counts": {
			in: `{"ImportPath":"m/a [m/a.test]","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"m/a [m/a.test]","Action":"build-fail"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a [build failed]\n"}
{"Action":"fail","Package":"m/a","FailedBuild":"m/a [m/a.test]"}
`,
			want: "a.go:1: undefined: x\nFAIL\tm/a [build failed]\n0 passed, 1 failed\n",
		},
		"a skipped test is told": {
			in: `{"Action":"output","Package":"m/a","Test":"TestA","Output":"no server\n"}
{"Action":"skip","Package":"m/a","Test":"TestA"}
{"Action":"pass","Package":"m/a","Test":"TestB"}
`,
			want: "skipped: m/a TestA\nno server\n1 passed, 0 failed\n",
			ok:   true,
		},
		"nothing is no success":            {in: "", want: "0 passed, 0 failed\n"},
		"the go command's words are shown": {in: "go: no such module\n", want: "go: no such module\n0 passed, 0 failed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			ok, err := report(strings.NewReader(c.in), &out)
			if err != nil || ok != c.ok || out.String() != c.want {
				t.Errorf("ok %v, err %v, printed:\n%s\nwant ok %v and:\n%s", ok, err, out.String(), c.ok, c.want)
			}
		})
	}
}
