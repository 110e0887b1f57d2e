package e2e_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
)

// openTerminal returns both ends of a new terminal: what is written to theirs can be read from ours.
func openTerminal(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ours.Close() })
	var unlock, number int32
	for request, argument := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		_, _, failure := syscall.Syscall(syscall.SYS_IOCTL, ours.Fd(), request, uintptr(unsafe.Pointer(argument)))
		require.Zero(t, failure)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = theirs.Close() })
	return ours, theirs
}

// onTerminal runs the tool with a terminal for what it tells people, and returns that and its standard output.
func onTerminal(t testing.TB, env environment, args ...string) (shown, stdout string) {
	t.Helper()
	ours, theirs := openTerminal(t)
	var out strings.Builder
	cmd := exec.Command(programs.path(t, "tgfleet"), args...)
	cmd.Env = []string{"DATABASE_URL=" + env["DATABASE_URL"]}
	cmd.Stdout, cmd.Stderr = &out, theirs
	ended, err := localservers.StartTied(cmd, syscall.SIGKILL)
	require.NoError(t, err)
	require.NoError(t, theirs.Close())
	// The terminal fails to read once nobody has its other end any more.
	seen, _ := io.ReadAll(ours)
	<-ended
	require.True(t, cmd.ProcessState.Success(), string(seen))
	return string(seen), out.String()
}

func TestRetryShowsItsProgressOnATerminalAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.buryLetters(100)
	shown, stdout := onTerminal(t, f.env, "dead", "retry", "--all", "--rate", "64")
	require.Equal(t, "100 of 100 sent back; the workers take them from the spool.\n", stdout)
	require.Contains(t, shown, "[###############.........] 64 of 100  64/s  1s left")
	require.True(t, strings.HasSuffix(shown, "\r\x1b[K"), "it is wiped out at the end")

	f.buryLetters(1)
	shown, stdout = onTerminal(t, f.env, "dead", "retry", "--all", "--json")
	require.Empty(t, shown)
	require.JSONEq(t, `{"meant":1,"retried":1}`, stdout)
}
