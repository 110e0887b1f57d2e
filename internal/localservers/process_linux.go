package localservers

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the system send sig to the child when the thread that started it ends.
func dieWithParent(attributes *syscall.SysProcAttr, sig syscall.Signal) {
	attributes.Pdeathsig = sig
}

// childrenOf returns the processes that pid has started.
func childrenOf(pid int) (children []int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	if err != nil {
		return nil, fmt.Errorf("list the children of a server: %w", err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("list the children of a server: %w", err)
		}
		children = append(children, child)
	}
	return children, nil
}
