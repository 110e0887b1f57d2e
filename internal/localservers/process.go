package localservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// program says how to run one server.
type program struct {
	path string
	args []string
	// stop asks the server to end in good order; orphan is what it gets when this process dies without asking.
	stop, orphan syscall.Signal
	// credential is whom the server runs as; nil is the user of this process.
	credential *syscall.Credential
}

// process is one run of a server. Its methods may be called from any goroutine.
type process struct {
	cmd     *exec.Cmd
	program program
	// ended is closed when the process has been reaped.
	ended <-chan struct{}
}

// startProcess runs p with its output appended to the file logPath.
func startProcess(p program, logPath string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir = filepath.Dir(logPath)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	ended, err := StartTied(cmd, p.orphan)
	_ = log.Close()
	if err != nil {
		return nil, err
	}
	return &process{cmd: cmd, program: p, ended: ended}, nil
}

// StartTied starts cmd, in a process group of its own, and ties it to this process: should this process end without having ended
// cmd, by a crash for example, the system sends cmd the signal orphan (on Linux; elsewhere nothing ties the two). ended is closed
// once cmd has ended and was waited for, and then cmd.ProcessState says how. Nobody else may start cmd or wait for it.
func StartTied(cmd *exec.Cmd, orphan syscall.Signal) (ended <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own: Ctrl-C at a terminal reaches this process, which stops its servers last.
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, orphan)

	started := make(chan error, 1)
	reaped := make(chan struct{})
	go func() {
		// The system sends the signal for orphans when the thread that started the child ends, not the process: so this
		// goroutine holds the thread until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(reaped)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return reaped, nil
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, filepath.Base(p.program.path), err)
	}
	return nil
}

// signalIfThere sends sig to a process that may have ended.
func signalIfThere(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", sig, pid, err)
	}
	return nil
}

// kill ends the process as a crash would, and waits for it. A process that has ended is left alone.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// stop ends the process in good order, or kills it when it has not ended within stopBound. It works on a frozen process.
func (p *process) stop() error {
	for _, sig := range []syscall.Signal{p.program.stop, syscall.SIGCONT} {
		if err := p.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	bound := time.NewTimer(stopBound)
	defer bound.Stop()
	select {
	case <-p.ended:
		return nil
	case <-bound.C:
		return p.kill()
	}
}

var errPortTaken = errors.New("port taken by another process")

// awaitReady polls ready until it is true. A process that ends first is errPortTaken when its log says so.
func (p *process) awaitReady(ctx context.Context, logPath string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-p.ended:
			text := lastLines(logPath)
			if strings.Contains(text, "already in use") {
				return errPortTaken
			}
			return fmt.Errorf("%s ended at once: %s", p.program.path, text)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w: %s", p.program.path, ctx.Err(), lastLines(logPath)), p.kill())
		}
	}
	return nil
}
