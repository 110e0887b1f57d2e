package localservers

import "syscall"

// dieWithParent has the system send sig to the child when the thread that started it ends.
func dieWithParent(attributes *syscall.SysProcAttr, sig syscall.Signal) {
	attributes.Pdeathsig = sig
}
