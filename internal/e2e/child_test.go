package e2e_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
)

const (
	// commandWithin bounds a command that does one thing, and startWithin a process from its start until it serves.
	commandWithin = time.Minute
	startWithin   = time.Minute
	// lookEvery is how often something that should become true is looked at.
	lookEvery = 20 * time.Millisecond
	// portTries bounds how often a process is started anew because somebody else took its port.
	portTries = 10
)

// environment is the whole environment of a child; it inherits nothing.
type environment map[string]string

// with returns e with more variables, which win.
func (e environment) with(more environment) environment {
	all := maps.Clone(e)
	maps.Copy(all, more)
	return all
}

// command is one of our commands with what it is given.
type command struct {
	program string
	args    []string
	env     environment
	stdin   string
	// typed is read instead of stdin where somebody answers what the command asks; nil where nobody does.
	typed *os.File
}

// child is one run of one of our commands. It ends with the test at the latest.
type child struct {
	t       testing.TB
	name    string
	cmd     *exec.Cmd
	ended   <-chan struct{}
	out     string
	err     string
	startAt time.Time
}

// start runs c. What it prints is kept, and shown when the test fails, unless the child ended well.
func start(t testing.TB, c command) *child {
	t.Helper()
	dir := t.TempDir()
	p := &child{
		t: t, name: strings.Join(append([]string{c.program}, c.args...), " "),
		cmd: exec.Command(programs.path(t, c.program), c.args...),
		out: filepath.Join(dir, "out"), err: filepath.Join(dir, "err"), startAt: time.Now(),
	}
	out, err := os.Create(p.out)
	require.NoError(t, err)
	errs, err := os.Create(p.err)
	require.NoError(t, err)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir, p.cmd.Stdin = out, errs, dir, strings.NewReader(c.stdin)
	if c.typed != nil {
		p.cmd.Stdin = c.typed
	}
	p.cmd.Env = []string{}
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		p.cmd.Env = append(p.cmd.Env, name+"="+c.env[name])
	}
	p.ended, err = localservers.StartTied(p.cmd, syscall.SIGKILL)
	_, _ = out.Close(), errs.Close()
	require.NoError(t, err)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && !p.cmd.ProcessState.Success() {
			t.Logf("%s, started at %s, ended with %s; it printed:\n%s%s",
				p.name, p.startAt.Format(time.TimeOnly), p.cmd.ProcessState, tail(p.stdout()), tail(p.stderr()))
		}
	})
	return p
}

// tail returns the last lines of a log.
func tail(text string) string {
	const most = 60
	lines := strings.SplitAfter(text, "\n")
	if len(lines) <= most {
		return text
	}
	return fmt.Sprintf("... %d lines ...\n", len(lines)-most) + strings.Join(lines[len(lines)-most:], "")
}

func (p *child) stdout() string { return p.read(p.out) }
func (p *child) stderr() string { return p.read(p.err) }

func (p *child) read(path string) string {
	text, err := os.ReadFile(path)
	require.NoError(p.t, err)
	return string(text)
}

func (p *child) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *child) signal(sig syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig), "send %s to %s", sig, p.name)
}

// kill ends the child as a crash would, and waits for its end. A child that has ended is left alone.
func (p *child) kill() {
	if !p.hasEnded() {
		_ = p.cmd.Process.Kill() // it may end in between
		<-p.ended
	}
}

// exit waits for the child's end and returns its exit code; -1 when a signal ended it.
func (p *child) exit(within time.Duration) int {
	p.t.Helper()
	over := time.NewTimer(within)
	defer over.Stop()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-over.C:
		p.t.Fatalf("%s has not ended within %s", p.name, within)
		return 0
	}
}

// printed waits until the child has logged text.
func (p *child) printed(text string) {
	p.t.Helper()
	eventually(p.t, startWithin, func(context.Context) error {
		if !strings.Contains(p.stderr(), text) {
			return fmt.Errorf("%s has not logged %s", p.name, text)
		}
		return nil
	})
}

// result is what a command that does one thing came to.
type result struct {
	code           int
	stdout, stderr string
}

// run runs c to its end.
func run(t testing.TB, c command) result {
	t.Helper()
	p := start(t, c)
	code := p.exit(commandWithin)
	return result{code: code, stdout: p.stdout(), stderr: p.stderr()}
}

// server is a child that serves HTTP.
type server struct {
	*child
	// url is where it serves; a process that is started again with it serves there again.
	url string
}

// serve runs c, tells it in the variable addr where to serve, and returns once it is ready. at is the address of an earlier
// run, or empty for a free port.
func serve(t testing.TB, c command, addr, at string) *server {
	t.Helper()
	for range portTries {
		host := at
		if at == "" {
			port, err := localservers.FreePort()
			require.NoError(t, err)
			host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
		c.env = c.env.with(environment{addr: host})
		s := &server{child: start(t, c), url: "http://" + host}
		if s.becomesReady() {
			return s
		}
	}
	t.Fatalf("%s found its port taken %d times", c.program, portTries)
	return nil
}

// becomesReady waits until the server is ready. It returns false when the port was somebody else's.
func (s *server) becomesReady() bool {
	s.t.Helper()
	clash := false
	eventually(s.t, startWithin, func(ctx context.Context) error {
		if s.hasEnded() {
			clash = strings.Contains(s.stderr()+s.stdout(), "another process has this port")
			if !clash {
				s.t.Fatalf("%s ended before it was ready", s.name)
			}
			return nil
		}
		got, err := get(ctx, s.url+"/ready")
		if err == nil && got.status != http.StatusOK {
			err = fmt.Errorf("%s is not ready: %d %s", s.name, got.status, got.body)
		}
		return err
	})
	return !clash
}

// answer is an HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// client follows no redirects and keeps no connections. It is safe for concurrent use.
var client = &http.Client{
	Timeout:       30 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: startWithin},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func get(ctx context.Context, url string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	return do(request)
}

func do(request *http.Request) (answer, error) {
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return answer{status: response.StatusCode, header: response.Header, body: string(body)}, err
}

// eventually looks until check returns nil. The test fails with check's last error when it has not within the time.
func eventually(t testing.TB, within time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", within, err)
		case <-tick.C:
		}
	}
}
