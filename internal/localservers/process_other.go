//go:build !linux

package localservers

import (
	"errors"
	"syscall"
)

// dieWithParent does nothing: only Linux can tie a child's life to its parent's.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// childrenOf is what Linux alone can tell without the help of another program.
func childrenOf(int) ([]int, error) {
	return nil, errors.New("the children of a server are known on Linux only")
}
