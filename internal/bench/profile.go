package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profileMemory writes what is in the heap now, where profiles are wanted.
func (b *Listener) profileMemory(name string) error {
	if b.Profiles == "" {
		return nil
	}
	file, err := os.Create(filepath.Join(b.Profiles, name+".heap.pprof")) //nolint:gosec // the operator says where
	if err != nil {
		return fmt.Errorf("--profiles: %w", err)
	}
	return errors.Join(pprof.WriteHeapProfile(file), file.Close())
}

// profileProcessor writes where the time goes until stop is called, where profiles are wanted.
func (b *Listener) profileProcessor(name string) (stop func() error, err error) {
	if b.Profiles == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(filepath.Join(b.Profiles, name+".cpu.pprof")) //nolint:gosec // the operator says where
	if err != nil {
		return nil, fmt.Errorf("--profiles: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}
